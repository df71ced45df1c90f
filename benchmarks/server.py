"""Starts what is measured: the speech server, or a worker under a minimal control plane, each as its own process; and
the files that it is to fetch."""

from __future__ import annotations

import json
import os
import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parent.parent


@dataclass
class Running:
    """A process and when it was started (time.perf_counter seconds)."""

    process: subprocess.Popen[str]
    started: float
    url: str = ""
    lines: list[str] = field(default_factory=list)
    listening: threading.Event = field(default_factory=threading.Event)

    def memory_mb(self) -> float:
        """Proportional set size of the process and its children, so that shared pages count once."""
        root = psutil.Process(self.process.pid)
        return sum(p.memory_full_info().pss for p in [root, *root.children(recursive=True)]) / 1e6


@contextmanager
def _process(command: list[str], env: dict[str, str]) -> Iterator[Running]:
    started = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "HF_HUB_OFFLINE": "1", **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    running = Running(process, started)

    def read() -> None:
        assert process.stdout
        for line in process.stdout:
            running.lines.append(line)
            if match := re.search(r"Uvicorn running on (http://[\d.]+:\d+)", line):
                running.url = running.url or match[1]
                running.listening.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield running
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        reader.join(5)


@contextmanager
def speech_server(env: dict[str, str] | None = None) -> Iterator[Running]:
    """`python -m speech_server` on a free port, listening."""
    with _process([sys.executable, "-m", "speech_server", "--host", "127.0.0.1", "--port", "0"], env or {}) as running:
        if not running.listening.wait(60):
            raise RuntimeError("the speech server did not start:\n" + "".join(running.lines))
        yield running


class ControlPlane:
    """The least of Runpod a worker needs: hands out jobs, notes when it was asked first and what came back."""

    def __init__(self) -> None:
        self.jobs: queue.Queue[dict[str, Any]] = queue.Queue()
        self.results: queue.Queue[tuple[float, dict[str, Any]]] = queue.Queue()
        self.asked = threading.Event()
        self.asked_first = 0.0  # time.perf_counter seconds
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

        # Long polls are cut when the worker ends.
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]

    @property
    def env(self) -> dict[str, str]:
        base = f"http://127.0.0.1:{self._server.server_address[1]}"
        return {
            "RUNPOD_WEBHOOK_GET_JOB": f"{base}/job-take/$ID?gpu=none",
            "RUNPOD_WEBHOOK_POST_OUTPUT": f"{base}/job-done/$RUNPOD_POD_ID/$ID?gpu=none",
            "RUNPOD_WEBHOOK_POST_STREAM": f"{base}/job-stream/$RUNPOD_POD_ID/$ID?gpu=none",
            "RUNPOD_WEBHOOK_PING": f"{base}/ping/$RUNPOD_POD_ID",
            "RUNPOD_POD_ID": "bench",
            "RUNPOD_ENDPOINT_ID": "bench",
            "RUNPOD_AI_API_KEY": "bench",
            "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true",
            "RUNPOD_SKIP_GPU_CHECK": "true",
        }

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _handler(plane: ControlPlane) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if "/job-take" in self.path:
                plane.asked_first = plane.asked_first or time.perf_counter()
                plane.asked.set()
                try:
                    job = plane.jobs.get(timeout=1)
                except queue.Empty:
                    self._answer(204)
                    return
                self._answer(200, json.dumps([job] if "batch" in self.path else job))
            elif "/job-stop/" in self.path:
                threading.Event().wait(1)
                self._answer(204)
            else:
                self._answer(200, "{}")

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if "/job-done/" in self.path:
                plane.results.put((time.perf_counter(), json.loads(body)))
            self._answer(200, "{}")

        def _answer(self, status: int, body: str = "") -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            return

    return Handler


@contextmanager
def worker(plane: ControlPlane, env: dict[str, str] | None = None) -> Iterator[Running]:
    """`python handler.py` taking its jobs from `plane`."""
    with _process([sys.executable, "-u", "handler.py"], {**plane.env, **(env or {})}) as running:
        yield running


class Served:
    """A folder over HTTP, with ranges; `count`: bytes that went out."""

    def __init__(self) -> None:
        self.url = ""
        self.count = 0


@contextmanager
def served(folder: Path) -> Iterator[Served]:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.responses import FileResponse
    from starlette.routing import Route

    files = Starlette(routes=[Route("/{name}", lambda request: FileResponse(folder / request.path_params["name"]))])
    counted = Served()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def counting(message: Any) -> None:
            counted.count += len(message.get("body", b""))
            await send(message)

        await files(scope, receive, counting)

    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        counted.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        yield counted
    finally:
        server.should_exit = True
        thread.join(10)
