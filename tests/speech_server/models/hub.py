"""A hub on this machine: a small server that speaks as much of its API as pulling asks for."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "c" * 40


class HubHandler(BaseHTTPRequestHandler):
    """Just what pulling asks for: a repository's files with their sizes, and a file from some byte on."""

    protocol_version = "HTTP/1.1"
    server: FakeHub

    def do_GET(self) -> None:
        self.server.requests.append(
            (self.command, self.path, self.headers.get("Range"), self.headers.get("Authorization"))
        )
        if found := re.match(r"/api/models/([\w.-]+/[\w.-]+)(\?|$)", self.path):
            self.describe(found[1])
        elif found := re.match(r"/(?:datasets/)?([\w.-]+/[\w.-]+)/resolve/main/([\w./-]+)", self.path):
            self.send_file(self.server.repositories[found[1]][found[2]])
        else:
            self.answer(404, b"{}", {})

    do_HEAD = do_GET  # noqa: N815  # the base class's name

    def describe(self, repository: str) -> None:
        if repository == "someone/gated":
            return self.answer(403, b"{}", {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"})
        if repository == "someone/broken":
            return self.answer(500, self.echo(), {"X-Error-Message": self.echo().decode()})
        if repository == "someone/nonsense":
            return self.answer(200, self.echo(), {"Content-Type": "application/json"})
        if repository == "someone/odd":
            odd = {"id": repository, "siblings": [{"rfilename": self.echo().decode(), "size": "x"}, 7]}
            return self.answer(200, json.dumps(odd).encode(), {"Content-Type": "application/json"})
        if repository not in self.server.repositories:
            return self.answer(404, b"{}", {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})
        files = self.server.repositories[repository]
        sizes = {name: self.server.sizes.get(name, len(content)) for name, content in files.items()}
        siblings = [{"rfilename": name, "size": size, "blobId": "b"} for name, size in sizes.items()]
        body = {
            "id": repository,
            "modelId": repository,
            "sha": COMMIT,
            "siblings": siblings,
            "tags": [],
            "private": False,
        }
        return self.answer(200, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def echo(self) -> bytes:
        """What a server may say that repeats what it was told."""
        return f"<html>{self.headers.get('Authorization')}".encode()

    def send_file(self, content: bytes) -> None:
        headers = {
            "X-Repo-Commit": COMMIT,
            "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
            "Accept-Ranges": "bytes",
        }
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if found is None:
            return self.answer(200, content, headers)
        first = int(found[1])
        headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        return self.answer(206, content[first:], headers)

    def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            stop = self.server.stall_at if len(body) > 100_000 else None
            self.wfile.write(body[:stop])
            self.wfile.flush()
            if stop is not None:
                self.server.stalled.set()
                self.server.resumed.wait(30)
                self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


class FakeHub(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), HubHandler)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.sizes: dict[str, int] = {}  # what it says of a file in place of the truth
        self.requests: list[tuple[str, str, str | None, str | None]] = []
        self.stall_at: int | None = None
        self.stalled = threading.Event()
        self.resumed = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def env(self) -> dict[str, str]:
        """For a process that should use it: huggingface_hub reads its variables when it is imported."""
        return {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": self.url, "HF_HUB_DISABLE_XET": "1"}

    @property
    def fetched(self) -> list[str]:
        """The files that were sent, in their order."""
        return [path.rpartition("/")[2] for method, path, *_ in self.requests if method == "GET" and "resolve" in path]

    def offer(self, repository: str, folder: Path) -> None:
        self.repositories[repository] = {path.name: path.read_bytes() for path in folder.iterdir()}


@contextmanager
def running_hub() -> Iterator[FakeHub]:
    server = FakeHub()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.resumed.set()
        server.shutdown()
        thread.join()
        server.server_close()
