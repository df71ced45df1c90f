"""Real connections on loopback: names stay names, addresses are tried in turn, answers are bounded, lines are cut."""

from __future__ import annotations

import asyncio
import datetime
import io
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest

from outgoing.door import Door
from outgoing.errors import AddressRefused, UrlRefused
from outgoing.http import transport
from outgoing.url import parse_url
from worker.answer.bucket import store_for
from worker.answer.reply import Link
from worker.errors import BucketUnavailable, MediaUnavailable
from worker.job import download
from worker.job.download import Download
from worker.job.parse import parse_job
from worker.settings import Settings

pytestmark = pytest.mark.anyio
TRUSTING = Settings(allow_private_urls=True)


class Listener(ThreadingHTTPServer):
    """Answers what `answer` says; `heard` holds (method, path, headers)."""

    daemon_threads = True

    def __init__(self, address: str = "127.0.0.1", port: int = 0) -> None:
        super().__init__((address, port), Handler)
        self.heard: list[tuple[str, str, dict[str, str]]] = []
        self.answer: Callable[[], tuple[int, dict[str, str], bytes]] = lambda: (200, {"ETag": '"x"'}, b"")

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is part of these tests."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Listener

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.heard.append((self.command, self.path, dict(self.headers)))
        status, headers, body = self.server.answer()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_PUT = do_POST = do_HEAD = do_GET  # noqa: N815 (the base class's names)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def listen() -> Iterator[Callable[..., Listener]]:
    started: list[tuple[Listener, threading.Thread]] = []

    def start(address: str = "127.0.0.1", port: int = 0) -> Listener:
        server = Listener(address, port)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        started.append((server, thread))
        return server

    yield start
    for server, thread in started:
        server.shutdown()
        thread.join()
        server.server_close()


def here(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]


async def fetched(url: str, look_up: Any = here, settings: Settings = TRUSTING) -> bytes:
    blocks: list[bytes] = []

    async def keep(block: bytes) -> None:
        blocks.append(block)

    await Download(url, "input.file_url", settings, look_up).to(keep)
    return b"".join(blocks)


async def put(endpoint: str, look_up: Any = here, settings: Settings = TRUSTING) -> Link:
    config = {"endpointUrl": endpoint, "bucketName": "results", "accessId": "id", "accessSecret": "secret-key"}
    job = parse_job({"input": {"path": "/v1/models", "s3Config": config}})
    store = store_for(job, "job-1", settings, look_up)
    assert store
    return await store(io.BytesIO(b"sound"), "audio/wav")


@pytest.fixture
def black_hole() -> Iterator[tuple[str, int]]:
    """An address that takes no connection and refuses none: a listener whose queue is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.9", 0))
        listener.listen(0)
        waiting = []
        for _ in range(4):
            knocking = socket.socket()
            knocking.setblocking(False)
            knocking.connect_ex(listener.getsockname())
            waiting.append(knocking)
        yield listener.getsockname()
        for knocking in waiting:
            knocking.close()


async def test_an_address_that_is_silent_gives_way_to_the_next(
    listen: Callable[..., Listener], black_hole: tuple[str, int]
):
    server = listen("127.0.0.1", black_hole[1])
    server.answer = lambda: (200, {}, b"sound")
    both = lambda host, port: ["127.0.0.9", "127.0.0.1"]  # noqa: E731
    assert await fetched(f"http://storage.example:{black_hole[1]}/a.wav", both) == b"sound"
    server.answer = lambda: (200, {"ETag": '"x"'}, b"")
    link = await put(f"http://storage.example:{black_hole[1]}", both)
    assert link.url.startswith(f"http://storage.example:{black_hole[1]}/results/job-1/")


async def test_silence_everywhere_is_told(black_hole: tuple[str, int]):
    with pytest.raises(MediaUnavailable, match="stood still"):
        await fetched(
            f"http://127.0.0.9:{black_hole[1]}/", settings=Settings(allow_private_urls=True, download_stall_timeout=0.3)
        )


async def test_host_signature_and_link_keep_the_name(listen: Callable[..., Listener]):
    server = listen()
    link = await put(f"http://Storage.Example:{server.server_port}/")
    method, path, headers = server.heard[0]
    assert (method, headers["Host"]) == ("PUT", f"storage.example:{server.server_port}")
    assert "SignedHeaders=" in headers["Authorization"]
    assert link.url.partition("?")[0] == f"http://storage.example:{server.server_port}{path}"
    assert await fetched(f"http://files.example:{server.server_port}/a?b=c") == b""
    assert server.heard[-1][1:] == ("/a?b=c", {**server.heard[-1][2], "Host": f"files.example:{server.server_port}"})


async def test_a_redirect_goes_through_the_door(listen: Callable[..., Listener]):
    public, inside = listen(), listen("127.0.0.2")
    hidden = f"http://127.0.0.2:{inside.server_port}/"
    asked: list[str] = []

    def look_up(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    public.answer = lambda: (302, {"Location": f"//next.example:{public.server_port}/\\@a"}, b"")
    with pytest.raises(Exception, match="has a backslash"):
        await fetched(f"http://first.example:{public.server_port}/", look_up)
    assert asked == ["first.example"]
    # botocore asks again elsewhere when it is told of another region; Location it does not follow.
    answer = {"Location": hidden, "x-amz-bucket-region": "eu-west-1"}
    error = f"<Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region><Endpoint>{hidden[7:-1]}</Endpoint>"
    for status in (301, 400):
        public.answer = lambda status=status: (status, answer, f"<Error>{error}</Error>".encode())  # type: ignore[misc]
        with pytest.raises(BucketUnavailable):
            await put(f"http://first.example:{public.server_port}", look_up)
    assert inside.heard == []


@pytest.mark.parametrize("library", [httpx, httpx2])
def test_redirects_that_a_client_follows_by_itself_are_read_by_the_door_too(
    listen: Callable[..., Listener], library: Any
):
    first, second = listen(), listen("127.0.0.2")
    allows = ["127.0.0.1"]
    door = Door(allows.__contains__, lambda host, port: ["127.0.0.2" if host == "second.example" else "127.0.0.1"])
    with library.Client(transport=transport(door, library), follow_redirects=True) as client:
        for location, refusal in (
            (f"http://user@127.0.0.1:{first.server_port}/", UrlRefused),
            (f"http://127.0.0.2:{second.server_port}/", AddressRefused),
            (f"http://second.example:{second.server_port}/", AddressRefused),
        ):
            first.answer = lambda location=location: (302, {"Location": location}, b"")  # type: ignore[misc]
            with pytest.raises(refusal):
                client.get(f"http://first.example:{first.server_port}/")
        assert second.heard == []
        allows.append("127.0.0.2")
        assert client.get(f"http://first.example:{first.server_port}/").status_code == 200
    assert second.heard[0][2]["Host"] == f"second.example:{second.server_port}"


def test_a_proxy_is_for_the_operator_alone(listen: Callable[..., Listener], monkeypatch: pytest.MonkeyPatch):
    proxy = listen()
    monkeypatch.setenv("http_proxy", f"http://proxy.example:{proxy.server_port}")
    monkeypatch.setenv("no_proxy", "near.example")
    asked: list[str] = []

    def look_up(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    with httpx.Client(transport=transport(Door.of_operator(look_up), httpx)) as client:
        client.get("http://far.example/a")
        client.get(f"http://near.example:{proxy.server_port}/b")
    assert [path for _, path, _ in proxy.heard] == ["http://far.example/a", "/b"]
    assert asked == ["proxy.example", "near.example"]
    assert Door.to_strangers().proxy(parse_url("http://far.example/")) is None


async def test_a_foreign_answer_is_neither_quoted_nor_swallowed(listen: Callable[..., Listener]):
    server = listen()
    server.answer = lambda: (403, {}, b"<Error><Code>" + b"internal secret " * 100 + b"</Code></Error>")
    with pytest.raises(BucketUnavailable) as caught:
        await put(f"http://first.example:{server.server_port}")
    assert "secret" not in caught.value.message
    assert len(caught.value.message) < 250
    server.answer = lambda: (403, {}, bytes(3 << 20))
    with pytest.raises(BucketUnavailable, match="answered more than 1048576 bytes"):
        await put(f"http://first.example:{server.server_port}")


async def test_a_cancelled_upload_hangs_up_at_once():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        task = asyncio.create_task(put(f"http://first.example:{silent.getsockname()[1]}"))
        connection, _ = await asyncio.to_thread(silent.accept)
        with closing(connection):
            connection.settimeout(30)  # well under the 60 s that an answer may take
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.to_thread(lambda: [None for _ in iter(lambda: connection.recv(65536), b"")])


async def test_a_bucket_whose_name_is_unknown_is_named():
    with pytest.raises(BucketUnavailable, match=r"'results' \(s3Config\) did not take it: the host 'first\.example'"):
        await put("http://first.example:9", lambda host, port: [])


async def test_tls_asks_for_the_name_and_checks_it(
    listen: Callable[..., Listener], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    server, asked = listen(), []
    certificate, key = self_signed("storage.example", tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.sni_callback = lambda _, name, __: asked.append(name)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    download._tls.cache_clear()
    try:
        link = await put(f"https://storage.example:{server.server_port}")
        assert link.url.startswith(f"https://storage.example:{server.server_port}/results/")
        assert await fetched(link.url) == b""
        assert set(asked) == {"storage.example"}
        with pytest.raises(MediaUnavailable, match="ConnectError"):
            await fetched(f"https://other.example:{server.server_port}/")
        with pytest.raises(BucketUnavailable, match="SSLError"):
            await put(f"https://other.example:{server.server_port}/")
    finally:
        download._tls.cache_clear()


def self_signed(name: str, folder: Path) -> tuple[Path, Path]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number(), now - day, now + day)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    (folder / "cert.pem").write_bytes(made.public_bytes(pem))
    (folder / "key.pem").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return folder / "cert.pem", folder / "key.pem"
