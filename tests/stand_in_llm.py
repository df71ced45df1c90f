"""A small real HTTP server that speaks chat completions: the language model lies outside this project."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Reply:
    """What the model does next: the `text` at once, what is `held` once the `gate` opens."""

    text: str = ""
    held: str = ""
    status: int = 200
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    finish_reason: str = "stop"
    gate: threading.Event | None = None
    breaks_off: bool = False  # ends the stream with an error after the text


Answer = Callable[[dict[str, Any]], Reply]


def words(text: str) -> list[str]:
    """As a model's tokens come: a word with the space before it."""
    return re.findall(r"\s*\S+", text)


class Listener(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is part of many tests."""


class StandInLLM:
    """`url` is what CHAT_COMPLETION_BASE_URL wants; `requests` holds (headers, body) of what was asked."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.requests: list[tuple[dict[str, str], dict[str, Any]]] = []
        self.gone = threading.Event()  # a client left before its answer was whole
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.requests.append((dict(self.headers), body))
                try:
                    outer.serve(self, body)
                except (BrokenPipeError, ConnectionResetError):
                    outer.gone.set()
                    self.close_connection = True

            def log_message(self, *args: Any) -> None:
                pass

        self._server = Listener(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def serve(self, request: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        reply = self.answer(body)
        if request.path != "/v1/chat/completions":
            reply = Reply(status=404)
        if reply.status != 200:
            send(request, reply.status, {"error": {"message": f"refused with {reply.status}", "type": "stand_in"}})
        elif body.get("stream"):
            request.send_response(200)
            request.send_header("Content-Type", "text/event-stream")
            request.send_header("Transfer-Encoding", "chunked")
            request.end_headers()
            for event in stream(reply, body):
                data = f"data: {event}\n\n".encode()
                request.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
                request.wfile.flush()
            request.wfile.write(b"0\r\n\r\n")
        else:
            message = {"role": "assistant", "content": reply.text or None}
            if reply.tool_calls:
                message["tool_calls"] = reply.tool_calls
            choice = {"index": 0, "message": message, "finish_reason": reply.finish_reason}
            send(request, 200, {**frame(body, "chat.completion"), "choices": [choice], "usage": usage(reply)})


def send(request: BaseHTTPRequestHandler, status: int, reply: dict[str, Any]) -> None:
    data = json.dumps(reply).encode()
    request.send_response(status)
    request.send_header("Content-Type", "application/json")
    request.send_header("Content-Length", str(len(data)))
    request.end_headers()
    request.wfile.write(data)


def frame(body: dict[str, Any], kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": kind, "created": 1, "model": body.get("model")}


def usage(reply: Reply) -> dict[str, int]:
    count = len(words(reply.text))
    return {"prompt_tokens": 7, "completion_tokens": count, "total_tokens": 7 + count}


def stream(reply: Reply, body: dict[str, Any]) -> Iterator[str]:
    def chunk(delta: dict[str, Any], finish: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return json.dumps({**frame(body, "chat.completion.chunk"), "choices": [choice]})

    yield chunk({"role": "assistant", "content": ""})
    for word in words(reply.text):
        yield chunk({"content": word})
    if reply.gate is not None:
        reply.gate.wait(20)
    for word in words(reply.held):
        yield chunk({"content": word})
    for index, call in enumerate(reply.tool_calls):
        function = call["function"]
        yield chunk({"tool_calls": [{**call, "index": index, "function": {"name": function["name"], "arguments": ""}}]})
        for part in re.findall(".{1,5}", function["arguments"]):
            yield chunk({"tool_calls": [{"index": index, "function": {"arguments": part}}]})
    if reply.breaks_off:
        yield json.dumps({"error": {"message": "out of memory", "type": "server_error"}})
        return
    yield chunk({}, reply.finish_reason)
    if (body.get("stream_options") or {}).get("include_usage"):
        yield json.dumps({**frame(body, "chat.completion.chunk"), "choices": [], "usage": usage(reply)})
    yield "[DONE]"


@contextmanager
def stand_in_llm(answer: Answer | str) -> Iterator[StandInLLM]:
    text = answer if isinstance(answer, str) else ""
    model = StandInLLM((lambda body: Reply(text)) if isinstance(answer, str) else answer)
    try:
        yield model
    finally:
        model.close()
