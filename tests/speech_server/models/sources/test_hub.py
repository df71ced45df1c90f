"""Models from a hub: huggingface_hub itself, in child processes, against a small server that speaks its API."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from speech_server.models.disk.cache import Cache
from tests.conftest import ROOT
from tests.speech_server.networks import pyannote_folder, wespeaker_folder

ID = "someone/whisper-tiny"
COMMIT = "c" * 40
WEIGHTS = os.urandom(3_000_000)
FILES = {
    "README.md": b"# not wanted",
    "config.json": b"{}",
    "tokenizer.json": b"{}",
    "vocabulary.txt": b"a b",
    "model.bin": WEIGHTS,
}


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
        elif found := re.match(r"/([\w.-]+/[\w.-]+)/resolve/main/([\w./-]+)", self.path):
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
        siblings = [{"rfilename": name, "size": len(content), "blobId": "b"} for name, content in files.items()]
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
        self.repositories: dict[str, dict[str, bytes]] = {ID: FILES}
        self.requests: list[tuple[str, str, str | None, str | None]] = []
        self.stall_at: int | None = None
        self.stalled = threading.Event()
        self.resumed = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    server = FakeHub()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield server
    server.resumed.set()
    server.shutdown()
    thread.join()
    server.server_close()


def pull(model_id: str, hub: str, **env: str) -> subprocess.CompletedProcess[str]:
    with start_pull(model_id, hub, **env) as process:
        output, errors = process.communicate(timeout=60)
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def start_pull(model_id: str, hub: str, **env: str) -> subprocess.Popen[str]:
    """In a process of its own: huggingface_hub reads its variables when it is imported."""
    return subprocess.Popen(
        [sys.executable, "-m", "speech_server", "models", "pull", model_id],
        cwd=ROOT,
        env=os.environ | {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": hub, "HF_HUB_DISABLE_XET": "1"} | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_only_what_the_engine_opens_is_downloaded(hub: FakeHub, cache: Cache):
    done = pull(ID, hub.url, HF_TOKEN="hf_secret")
    assert done.returncode == 0, done.stderr
    folder = cache.folder(ID)
    assert folder is not None
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        name: content for name, content in FILES.items() if name != "README.md"
    }
    assert {authorization for _, path, _, authorization in hub.requests if ID in path} == {"Bearer hf_secret"}
    hub.requests.clear()
    assert pull(ID, hub.url).stdout == f"{ID} is installed\n"
    assert hub.requests == []  # an installed model costs no network


PUBLISHED = {
    "Wespeaker/wespeaker-voxceleb-resnet34-LM": (wespeaker_folder, ["voxceleb_resnet34_LM.onnx"], "speaker-embedding"),
    "onnx-community/pyannote-segmentation-3.0": (
        pyannote_folder,
        ["onnx/model.onnx", "preprocessor_config.json"],
        "speaker-segmentation",
    ),
}


@pytest.mark.parametrize("model_id", PUBLISHED)
def test_models_that_tell_speakers_apart_are_pulled_as_they_are_published(
    hub: FakeHub, cache: Cache, tmp_path: Path, model_id: str
):
    make, taken, task = PUBLISHED[model_id]
    made = make(tmp_path / "made")
    files = {str(path.relative_to(made)): path.read_bytes() for path in made.rglob("*") if path.is_file()}
    hub.repositories[model_id] = files | {"README.md": b"# not wanted"}
    done = pull(model_id, hub.url)
    assert done.returncode == 0, done.stderr
    assert task in done.stdout
    folder = cache.folder(model_id)
    assert folder is not None
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) == taken


def test_what_was_finished_when_a_download_was_killed_is_not_fetched_again(hub: FakeHub, cache: Cache):
    hub.stall_at = 2_000_000
    with start_pull(ID, hub.url) as victim:
        assert hub.stalled.wait(30)
        victim.kill()
    assert cache.folder(ID) is None
    (partial,) = (cache.repository(ID) / "blobs").glob("*.incomplete")
    os.utime(partial, (0, 0))  # killed long ago
    hub.stall_at = None
    hub.resumed.set()
    hub.requests.clear()
    done = pull(ID, hub.url)
    assert done.returncode == 0, done.stderr
    fetched = [path.rpartition("/")[2] for method, path, *_ in hub.requests if method == "GET" and "resolve" in path]
    assert fetched == ["model.bin"]
    folder = cache.folder(ID)
    assert folder is not None
    assert (folder / "model.bin").read_bytes() == WEIGHTS
    assert not partial.exists()


@pytest.mark.parametrize(
    ("model_id", "complaint"),
    [
        ("someone/unknown", "'someone/unknown' is not on the hub, or private"),
        ("someone/gated", "'someone/gated' is gated"),
        ("someone/broken", "The hub answered 500"),
        ("someone/nonsense", "The hub's answer for 'someone/nonsense' makes no sense"),
        ("someone/odd", "The hub's answer for 'someone/odd' makes no sense"),
        ("someone/picture", "'someone/picture' holds no model this server can run"),
    ],
)
def test_what_the_hub_refuses_is_one_line_on_stderr(hub: FakeHub, cache: Cache, model_id: str, complaint: str):
    hub.repositories["someone/picture"] = {"model.onnx": b"x", "config.json": b"{}"}
    done = pull(model_id, hub.url, HF_TOKEN="hf_secret")
    assert done.returncode == 1
    assert complaint in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert "hf_secret" not in done.stderr + done.stdout
    assert "<html>" not in done.stderr + done.stdout
    assert not list(cache.root.glob("models--*"))


def test_an_unreachable_hub_is_named_and_nothing_is_left(cache: Cache):
    done = pull(ID, "http://127.0.0.1:1")
    assert done.returncode == 1
    assert "The hub cannot be reached" in done.stderr
    assert not list(cache.root.glob("models--*"))


def test_a_password_in_the_hubs_address_stays_unsaid(cache: Cache):
    done = pull(ID, "http://user:hf_secret@127.0.0.1:1")
    assert done.returncode == 1
    assert "HF_ENDPOINT has a user name" in done.stderr
    assert "hf_secret" not in done.stderr + done.stdout
