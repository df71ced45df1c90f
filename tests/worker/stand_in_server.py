"""A small HTTP server that does what a test asks: sleep, sizes, errors, streams, crash. Any speech server's stand-in.

    python stand_in_server.py [--start-seconds S] [--ignore-sigterm] [--crash-at-start CODE] [--hang] [--fork]
                              [--print TEXT] [--access-log] [--no-progress]

Listens on UVICORN_HOST:UVICORN_PORT. Routes, whose queries are in each function: /ping, /echo, /give, /drip, /loop,
/sleep, /gauge, /environment, /spy, /api/progress/ID, and those of stand_in_faults.py.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from stand_in_faults import Faults

CHUNK = 65536


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], ready_at: float, options: argparse.Namespace) -> None:
        super().__init__(address, Handler)
        self.ready_at = ready_at
        self.options = options
        self.is_mute = False
        self.polls: dict[str, int] = {}
        self.keys: list[str | None] = []  # that questions about progress brought
        self.lock = threading.Lock()
        self.in_flight = 0
        self.seen: list[str] = []
        self.asleep: dict[str, float] = {}

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


class Handler(Faults, BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def handle_any(self) -> None:
        url = urlsplit(self.path)
        self.query = dict(parse_qsl(url.query, keep_blank_values=True))
        self.segments = unquote(url.path).strip("/").split("/")
        if self.segments[0] == "v1" and hasattr(self, f"do_route_{self.segments[-1]}"):
            del self.segments[0]  # the paths of an API, for those who take no others
        if self.segments[0] in ("ping", "gauge", "api"):
            with self.server.lock:
                self.server.polls[self.segments[0]] = self.server.polls.get(self.segments[0], 0) + 1
            self.route(self.segments[0])
            return
        with self.server.lock:
            self.server.in_flight += 1
            self.server.seen.append(f"{self.command} {self.path}")
        try:
            self.route(self.segments[0])
        finally:
            with self.server.lock:
                self.server.in_flight -= 1

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = handle_any  # noqa: N815

    def route(self, name: str) -> None:
        method = getattr(self, f"do_route_{name}", None)
        if method is None or not name:
            self.reply_json({"detail": f"no route {self.path}"}, 404)
        else:
            method()

    def do_route_ping(self) -> None:
        if self.server.is_mute:
            threading.Event().wait()
        self.reply(b"", "text/plain", 200 if time.monotonic() >= self.server.ready_at else 204)

    def do_route_gauge(self) -> None:
        server = self.server
        names = ("in_flight", "seen", "polls", "keys")
        self.reply_json({name: getattr(server, name) for name in names} | {"asleep": list(server.asleep)})

    def do_route_api(self) -> None:
        """/api/progress/ID: of a /sleep whose X-Request-ID is ID."""
        self.server.keys.append(self.headers.get("authorization"))
        began = self.server.asleep.get(self.segments[-1])
        if self.server.options.no_progress:
            self.reply_json({"detail": "Not Found"}, 404)
        elif began is None:
            self.reply_json({"error": {"message": "no such request", "code": "not_found"}}, 404)
        else:
            self.reply_json({"seconds_done": round(time.monotonic() - began, 2), "seconds": 60})

    def do_route_environment(self) -> None:
        self.reply_json(dict(os.environ))

    def do_route_spy(self) -> None:
        """What can be read of the worker, by file: the number of bytes, or why not."""
        found: dict[str, int | str] = {}
        for name in ("environ", "mem", "status"):
            try:
                with open(f"/proc/{os.getppid()}/{name}", "rb") as file:
                    found[name] = len(file.read(1))
            except OSError as error:
                found[name] = error.strerror
        self.reply_json(found)

    def do_route_echo(self) -> None:
        """What arrived; bodies over 1 MB as their hash and size only."""
        digest, kept, size = hashlib.sha256(), bytearray(), 0
        for block in self.body_blocks():
            digest.update(block)
            size += len(block)
            if size <= 1 << 20:
                kept += block
        self.reply_json(
            {
                "method": self.command,
                "path": self.path,
                "headers": [[name.lower(), value] for name, value in self.headers.items()],
                "size": size,
                "sha256": digest.hexdigest(),
                "body": kept.decode("latin-1") if size <= 1 << 20 else None,
            }
        )

    def do_route_give(self) -> None:
        """?status=&type=&size=&body=: the text of `body`, or `size` bytes, or the upload or body, as the answer."""
        kind, status = self.query.get("type", ""), int(self.query.get("status", 200))
        if "size" not in self.query:
            own = self.uploaded(b"".join(self.body_blocks()))
            self.reply(self.query["body"].encode() if "body" in self.query else own, kind, status)
            return
        size = int(self.query["size"])
        self.start(kind, status, size)
        pattern = bytes(range(256)) * (CHUNK // 256)
        for sent in range(0, size, CHUNK):
            self.wfile.write(pattern[: size - sent])

    def do_route_drip(self) -> None:
        """?type=&count=&pause=&size=: the uploaded file, or `size` bytes, in `count` blocks `pause` seconds apart."""
        body = self.uploaded(b"".join(self.body_blocks())) or bytes(int(self.query.get("size", 0)))
        count = int(self.query.get("count", 1))
        self.start(self.query.get("type", ""), 200, None)
        step = -(-len(body) // count) or 1
        for i in range(0, len(body), step):
            block = body[i : i + step]
            self.wfile.write(f"{len(block):x}\r\n".encode() + block + b"\r\n")
            if self.wait(float(self.query.get("pause", 0))):
                return
        self.wfile.write(b"0\r\n\r\n")

    def do_route_loop(self) -> None:
        self.query["location"] = "/loop"
        self.start("", 307, 0)

    def do_route_sleep(self) -> None:
        """?seconds=: stops when the client goes away."""
        for _ in self.body_blocks():
            pass
        request_id = self.headers.get("x-request-id", "")
        self.server.asleep[request_id] = time.monotonic()
        try:
            if not self.wait(float(self.query["seconds"])):
                self.reply_json({"slept": float(self.query["seconds"])})
        finally:
            self.server.asleep.pop(request_id, None)

    # --- plumbing ---

    def wait(self, seconds: float) -> bool:
        """True when the client went away meanwhile."""
        limit = time.monotonic() + seconds
        while (left := limit - time.monotonic()) > 0:
            self.connection.settimeout(min(left, 0.05))
            try:
                if self.connection.recv(1, socket.MSG_PEEK) == b"":
                    self.close_connection = True
                    return True
            except TimeoutError:
                pass
            except OSError:
                self.close_connection = True
                return True
            finally:
                self.connection.settimeout(None)
        return False

    def uploaded(self, form: bytes) -> bytes:
        """The last part of a form; the body itself where it is none."""
        boundary = self.headers.get("content-type", "").partition("boundary=")[2].encode()
        if not boundary:
            return form
        return form.split(b"--" + boundary)[-2].partition(b"\r\n\r\n")[2][:-2]

    def body_blocks(self) -> Any:
        if "chunked" in self.headers.get("transfer-encoding", ""):
            while size := int(self.rfile.readline(), 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return
        left = int(self.headers.get("content-length", 0))
        while left:
            block = self.rfile.read(min(left, CHUNK))
            left -= len(block)
            yield block

    def start(self, kind: str, status: int, size: int | None) -> None:
        self.send_response(status)
        if self.close_connection:
            self.send_header("connection", "close")
        if kind:
            self.send_header("content-type", kind)
        if status in (301, 302, 307, 308):
            self.send_header("location", self.query["location"])
        if size is None:
            self.send_header("transfer-encoding", "chunked")
        else:
            self.send_header("content-length", str(size))
        self.end_headers()
        if self.server.options.access_log:
            print(f'INFO:     127.0.0.1:1 - "{self.command} {self.path} HTTP/1.1" {status}', flush=True)
            if status >= 400:
                print("ERROR: Not Found", flush=True)

    def reply(self, body: bytes, kind: str, status: int = 200) -> None:
        self.start(kind, status, len(body))
        if self.command != "HEAD" and status != 204:
            self.wfile.write(body)

    def reply_json(self, value: Any, status: int = 200) -> None:
        self.reply(json.dumps(value).encode(), "application/json", status)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the library's name)
        pass


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--start-seconds", type=float, default=0)
    parser.add_argument("--ignore-sigterm", action="store_true")
    parser.add_argument("--crash-at-start", type=int)
    parser.add_argument("--hang", action="store_true")
    parser.add_argument("--fork", action="store_true")
    parser.add_argument("--print", default="")
    parser.add_argument("--access-log", action="store_true")
    parser.add_argument("--no-progress", action="store_true")
    options = parser.parse_args()
    if options.print:
        print(options.print, flush=True)
    if options.ignore_sigterm:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if options.fork:
        child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
        print(f"forked {child.pid}", flush=True)
    if options.crash_at_start is not None:
        sys.exit(options.crash_at_start)
    if options.hang:
        signal.pause()
    address = (os.environ["UVICORN_HOST"], int(os.environ["UVICORN_PORT"]))
    Server(address, time.monotonic() + options.start_seconds, options).serve_forever()


if __name__ == "__main__":
    main()
