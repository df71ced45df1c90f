"""Large uploads: refused early, refused cleanly, bounded, and never left behind."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import openai
import pytest

from tests.conftest import WHISPER, ServerProcess

HEAR = "/v1/audio/transcriptions"
BIG = 25_000_000


def head(length: int, connection: str = "keep-alive") -> bytes:
    return (
        f"POST {HEAR} HTTP/1.1\r\nHost: server\r\nConnection: {connection}\r\nContent-Length: {length}\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
    ).encode()


def field(name: str, value: str) -> bytes:
    return f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()


FILE = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'


def connect(server: ServerProcess) -> socket.socket:
    address = urlsplit(server.url)
    return socket.create_connection((address.hostname or "", address.port or 0), timeout=30)


def read_reply(connection: socket.socket) -> tuple[int, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    (length,) = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length")]
    while len(body) < length:
        body += connection.recv(65536)
    return int(head.split()[1]), body


def test_an_unknown_model_is_refused_before_its_upload_is_sent(server: ServerProcess):
    with connect(server) as connection:
        connection.sendall(head(BIG) + field("model", "nobody/nothing") + FILE + bytes(1000))
        status, body = read_reply(connection)
    assert status == 404
    assert json.loads(body)["error"]["code"] == "model_not_found"


@pytest.mark.parametrize("connection", ["keep-alive", "close"])
def test_a_client_that_sends_everything_first_still_reads_the_refusal(server: ServerProcess, connection: str):
    body = field("model", "nobody/nothing") + FILE + bytes(BIG) + b"\r\n--x--\r\n"
    with connect(server) as sender:
        sender.sendall(head(len(body), connection) + body)
        status, _ = read_reply(sender)
        assert status == 404
        if connection == "keep-alive":
            sender.sendall(b"GET /health HTTP/1.1\r\nHost: server\r\n\r\n")
            assert read_reply(sender)[0] == 200
        else:
            assert sender.recv(1) == b""


@pytest.mark.parametrize("order", ["model first", "file first"])
def test_httpx_sees_the_refusal_of_a_large_upload(client: httpx.Client, order: str):
    model, file = ("model", (None, "nobody/nothing")), ("file", ("a.wav", bytes(BIG)))
    parts = [model, file] if order == "model first" else [file, model]
    for _ in range(2):  # the second time on the same connection
        assert client.post(HEAR, files=parts).status_code == 404


def test_the_openai_client_sees_the_refusal_of_a_large_upload(server: ServerProcess):
    with openai.OpenAI(base_url=server.url + "/v1", api_key="any", max_retries=0) as client:
        for _ in range(2):
            with pytest.raises(openai.NotFoundError, match="not installed locally"):
                client.audio.transcriptions.create(model="nobody/nothing", file=("a.wav", bytes(BIG)))


@pytest.fixture(scope="module")
def small_server() -> Iterator[httpx.Client]:
    server = ServerProcess({"MAX_UPLOAD_MB": "1"})
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client
    server.stop()


def test_a_declared_length_above_the_limit_is_413(small_server: httpx.Client):
    answer = small_server.post(HEAR, files={"file": bytes(1_100_000)}, data={"model": WHISPER})
    assert answer.status_code == 413
    assert "MAX_UPLOAD_MB" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "kind"), [(HEAR, "multipart/form-data; boundary=x"), ("/v1/audio/speech", "application/json")]
)
def test_an_undeclared_length_above_the_limit_is_413(small_server: httpx.Client, path: str, kind: str):
    def chunks() -> Iterator[bytes]:
        yield FILE if path == HEAR else b'{"input": "'
        for _ in range(20):
            yield b"a" * 100_000

    answer = small_server.post(path, content=chunks(), headers={"content-type": kind})
    assert answer.status_code == 413
    assert answer.json()["error"]["message"]
