"""A platform that answers job-take with whatever bytes a test wants, and keeps what it is told."""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import socketserver
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from local_runpod.processes import worker_environment
from local_runpod.settings import Settings
from tests.conftest import ROOT
from tests.local_runpod.local_platform import eventually
from tests.worker.conftest import STAND_IN

HELD = 5.0  # seconds a poll is held when there is nothing to answer

# Bytes of a whole HTTP answer, after which the connection is closed; or a function that writes them itself.
Reply = bytes | Callable[[socket.socket], object]


def reply(body: bytes, status: str = "200 OK", *headers: str, length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", "Connection: close"]
    if not any(header.lower().startswith("content-type") for header in headers):
        lines.append("Content-Type: application/json")
    return "\r\n".join([*lines, *headers, "", ""]).encode() + body


def job(job_id: str, **job_input: Any) -> bytes:
    return json.dumps({"id": job_id, "input": {"path": "/echo", **job_input}}).encode()


class BytePlatform(socketserver.ThreadingTCPServer):
    """`with BytePlatform() as platform:` runs handler.py against it."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, **env: str) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.replies: queue.Queue[Reply] = queue.Queue()
        self.stops: queue.Queue[Reply] = queue.Queue()
        self.always: Reply | None = None  # instead of holding a poll
        self.asked = 0
        self.results: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.lines: list[str] = []
        self._probes = 0
        threading.Thread(target=self.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{self.server_address[1]}"
        own = {"SPEECH_SERVER_COMMAND": STAND_IN, "RUNPOD_LOG_LEVEL": "INFO", "WORKER_PROGRESS_INTERVAL": "0"}
        self.worker = subprocess.Popen(
            [sys.executable, "-u", "handler.py"],
            cwd=ROOT,
            env={**os.environ, **worker_environment(Settings(), url, "worker"), **own, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.worker.stdout
        for line in self.worker.stdout:
            self.lines.append(line)

    @property
    def log(self) -> str:
        return "".join(self.lines)

    def send(self, *replies: Reply) -> None:
        for one in replies:
            self.replies.put(one)

    def wait_for(self, job_id: str) -> dict[str, Any]:
        eventually(lambda: self.results[job_id] or self.worker.poll() is not None, 60, f"result of {job_id}")
        assert self.results[job_id], self.log[-3000:]
        return self.results[job_id][0]

    def probe(self) -> None:
        """Returns when a job that comes after all that was sent has been answered."""
        self._probes += 1
        self.send(reply(job(f"probe-{self._probes}")))
        assert "output" in self.wait_for(f"probe-{self._probes}")

    def stop(self) -> int:
        self.worker.send_signal(signal.SIGTERM)
        try:
            return self.worker.wait(40)
        finally:
            self.worker.kill()
            self.worker.wait()
            self._reader.join(10)
            assert self.worker.stdout
            self.worker.stdout.close()
            self.shutdown()
            self.server_close()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A worker that hangs up is no news."""


class _Connection(socketserver.StreamRequestHandler):
    server: BytePlatform

    def handle(self) -> None:
        while head := self.rfile.readline():
            length = 0
            while (line := self.rfile.readline()) not in (b"\r\n", b""):
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            body = self.rfile.read(length)
            if not self.answer(head.split()[1].decode().split("?")[0].split("/")[3:], body):
                return

    def answer(self, call: list[str], body: bytes) -> bool:
        """Whether the connection may be used again."""
        server = self.server
        if call[0].startswith("job-take"):
            server.asked += 1
            return self._next(server.replies, server.always)
        if call[0] == "job-stop":
            return self._next(server.stops, None)
        if call[0] == "job-done":
            server.results[call[2]].append(json.loads(body))
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        return True

    def _next(self, replies: queue.Queue[Reply], otherwise: Reply | None) -> bool:
        try:
            scripted = replies.get(block=otherwise is None, timeout=HELD)
        except queue.Empty:
            scripted = otherwise or b"HTTP/1.1 204 No Content\r\n\r\n"
        if callable(scripted):
            scripted(self.connection)
        else:
            self.wfile.write(scripted)
        return False
