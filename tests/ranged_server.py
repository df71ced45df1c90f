"""A file behind a URL, served as good and bad servers do, and how much of it was fetched: what lies outside."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Ranged:
    """`ranges`: whether it knows them; `names_part`: whether it says which one it sends. `after` is called once, when
    so many parts have gone out."""

    data: bytes
    ranges: bool = True
    names_part: bool = True
    etag: str | None = '"1"'
    status_after: tuple[int, int] | None = None  # so many requests are answered, the next ones with this status
    moved: str | None = None  # where each request is sent first
    url: str = ""
    sent: int = 0  # bytes
    asked: list[str] = field(default_factory=list)  # each request's Range

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        asked = request.headers.get("range", "")
        if self.moved and request.path == "/moved":
            self._reply(request, 302, {"location": self.moved}, b"")
            return
        self.asked.append(asked)
        if self.status_after and len(self.asked) > self.status_after[0]:
            self._reply(request, self.status_after[1], {}, b"")
            return
        headers = {"etag": self.etag} if self.etag else {}
        same = request.headers.get("if-range") in (None, self.etag)
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", asked) if self.ranges and same else None
        if not found:
            self._reply(request, 200, headers, self.data)
            return
        start, end = int(found[1]), min(int(found[2]) + 1, len(self.data))
        if start >= len(self.data):
            self._reply(request, 416, headers, b"")
            return
        if self.names_part:
            headers["content-range"] = f"bytes {start}-{end - 1}/{len(self.data)}"
        self._reply(request, 206, headers, self.data[start:end])

    def _reply(self, request: BaseHTTPRequestHandler, status: int, headers: dict[str, str], body: bytes) -> None:
        request.send_response(status)
        for name, value in {**headers, "content-length": str(len(body))}.items():
            request.send_header(name, value)
        request.end_headers()
        try:
            request.wfile.write(body)
        except OSError:  # who asked has enough
            return
        self.sent += len(body)


@contextmanager
def served(ranged: Ranged) -> Iterator[Ranged]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            ranged.answer(self)

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    ranged.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield ranged
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
