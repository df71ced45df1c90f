"""What lies outside a worker, behaving badly: a name server that is slow, a bucket that reads and answers slowly."""

from __future__ import annotations

import heapq
import random
import socket
import struct
import threading
import time
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

BLOCK = 65536
LONGEST = 30.0  # seconds that anything here is kept waiting
ZONE = "soak.test"


class NameServer:
    """Answers on a loopback address of its own. The first letters of a name say how: quick, late (after 1 s), never,
    unknown; every name is 127.0.0.1."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        dice = random.Random()
        self.address = f"127.{dice.randint(10, 250)}.{dice.randint(1, 250)}.{dice.randint(1, 250)}"
        self.asked = 0
        self.ends = threading.Event()

    def start(self) -> None:
        """Raises OSError where port 53 may not be had."""
        self.socket.bind((self.address, 53))
        self.socket.settimeout(0.05)
        self.thread = threading.Thread(target=self._serve, name="names", daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.ends.set()
        if hasattr(self, "thread"):
            self.thread.join()
        self.socket.close()

    def _serve(self) -> None:
        due: list[tuple[float, int, bytes, Any]] = []
        while not self.ends.is_set():
            try:
                query, caller = self.socket.recvfrom(4096)
            except TimeoutError:
                pass
            else:
                self.asked += 1
                name = query[13 : 13 + query[12]].decode("latin-1")
                if not name.startswith("never"):
                    delay = 1.0 if name.startswith("late") else 0.0
                    said = _dns_answer(query, known=not name.startswith("unknown"))
                    heapq.heappush(due, (time.monotonic() + delay, self.asked, said, caller))
            while due and due[0][0] <= time.monotonic():
                _, _, said, caller = heapq.heappop(due)
                self.socket.sendto(said, caller)


def _dns_answer(query: bytes, *, known: bool) -> bytes:
    end = query.index(b"\0", 12) + 5
    kind = struct.unpack(">H", query[end - 4 : end - 2])[0]
    has_address = known and kind == 1
    head = query[:2] + struct.pack(">5H", 0x8180 if known else 0x8183, 1, has_address, 0, 0)
    record = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 0, 4) + bytes((127, 0, 0, 1))
    return head + query[12:end] + (record if has_address else b"")


class Bucket(BaseHTTPRequestHandler):
    """As much of S3 as an upload needs; the bucket's name says how it behaves. GET gives a small file."""

    protocol_version = "HTTP/1.1"
    server: BadServer

    def do_GET(self) -> None:
        self._say(b"RIFF" * 250, "audio/wav")

    def do_DELETE(self) -> None:
        self._say(b"", status=204)

    def do_POST(self) -> None:
        self._read()
        inside = "<UploadId>u</UploadId>" if "uploads" in self.path else "<ETag>e</ETag>"
        self._say(f"<?xml version='1.0'?><Result>{inside}</Result>".encode(), "application/xml")

    def do_PUT(self) -> None:
        manner = self.path.split("/")[1]
        with self.server.lock:
            self.server.uploads += 1
        if manner == "deaf":
            self._pause(LONGEST)
        self._read(pause=0.05 if manner == "sips" else 0, most=100_000 if manner == "breaks" else None)
        if manner in ("breaks", "deaf"):
            self.close_connection = True
        elif manner == "never":
            self._pause(LONGEST)
            self.close_connection = True
        elif manner == "drips":
            self._drip(b"HTTP/1.1 200 OK\r\nETag: " + b"e" * 1000)
        elif manner == "floods":
            self._flood()
        elif manner == "fails":
            self._say(b"<Error><Code>SlowDown</Code></Error>", "application/xml", 503)
        else:
            self._pause(2.0 if manner == "late" else 0)
            self._say(b"")

    def _read(self, pause: float = 0, most: int | None = None) -> None:
        left = int(self.headers.get("content-length", 0)) if most is None else most
        while left > 0 and (block := self.rfile.read(min(left, BLOCK))):
            left -= len(block)
            self._pause(pause)

    def _drip(self, text: bytes) -> None:
        self.close_connection = True
        for byte in text:
            self.wfile.write(bytes((byte,)))
            self._pause(0.1)

    def _flood(self) -> None:
        self.close_connection = True
        self.wfile.write(b"HTTP/1.1 500 No\r\nContent-Type: application/xml\r\n\r\n")
        while not self.server.ends.is_set():
            self.wfile.write(b"<a>" * 20_000)

    def _pause(self, seconds: float) -> None:
        if seconds and self.server.ends.wait(seconds):
            raise ConnectionError

    def _say(self, body: bytes, kind: str = "", status: int = 200) -> None:
        self.send_response(status)
        self.send_header("ETag", '"e"')
        if kind:
            self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the library's name)
        pass


class BadServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Bucket)
        self.ends = threading.Event()
        self.lock = threading.Lock()
        self.uploads = 0

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


class Outside:
    """Both of them while the context lasts; `no_names` says why there is no name server."""

    def __init__(self, folder: Path) -> None:
        self.names, self.bucket = NameServer(), BadServer()
        self.resolv_conf = folder / "resolv.conf"
        self.no_names = ""
        self._stack = ExitStack()

    @property
    def port(self) -> int:
        return int(self.bucket.server_address[1])

    def __enter__(self) -> Self:
        self._stack.callback(self.names.stop)
        try:
            self.names.start()
        except OSError as error:
            self.no_names = f"port 53 of {self.names.address}: {error.strerror}"
        self.resolv_conf.write_text(f"nameserver {self.names.address}\noptions timeout:2 attempts:1\n")
        serving = threading.Thread(target=self.bucket.serve_forever, name="bucket", daemon=True)
        serving.start()
        self._stack.callback(self.bucket.server_close)
        self._stack.callback(serving.join)
        self._stack.callback(self.bucket.shutdown)
        self._stack.callback(self.bucket.ends.set)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
