"""A WebSocket through a held job: who is let in, what passes, and how it ends. The server is a real one that echoes."""

from __future__ import annotations

import asyncio
import json
import socket as sockets
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.http11 import Request, Response

from tests.worker.conftest import free_port
from worker.errors import RealtimeUnavailable, ServerError, ServerUnavailable
from worker.job.parse import parse_job
from worker.realtime.door import Door
from worker.realtime.hold import hold_session, public_url, time_limit
from worker.realtime.meter import Meter
from worker.realtime.visit import Visit
from worker.settings import Settings

pytestmark = pytest.mark.anyio


class Echo:
    """Stands in for the speech server: says how it was called, then sends every message back."""

    def __init__(self) -> None:
        self.url = ""
        self.refuse = False
        self.open = 0

    async def serve(self, socket: ServerConnection) -> None:
        self.open += 1
        assert socket.request is not None
        headers = dict(socket.request.headers.raw_items())
        await socket.send(json.dumps({"type": "session.created", "path": socket.request.path, "headers": headers}))
        try:
            async for message in socket:
                if message == "hang up":
                    await socket.close(1000, "session_expired")
                await socket.send(message)
        except ConnectionClosed:
            pass
        finally:
            self.open -= 1

    def gate(self, socket: ServerConnection, request: Request) -> Response | None:
        if not self.refuse:
            return None
        error = {"message": "busy", "type": "rate_limit_error", "param": None, "code": "busy"}
        return socket.respond(HTTPStatus.TOO_MANY_REQUESTS, json.dumps({"error": error}))


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    echo = Echo()
    async with serve(echo.serve, "127.0.0.1", 0, process_request=echo.gate, max_size=None) as server:
        echo.url = f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
        yield echo


class Job:
    """One held job: `realtime` is what its progress says, `output` what it returns."""

    def __init__(self, task: asyncio.Task[dict[str, Any]], progress: asyncio.Queue[dict[str, Any]]) -> None:
        self.task = task
        self.progress = progress

    async def realtime(self) -> dict[str, Any]:
        waiting = asyncio.ensure_future(self.progress.get())
        await asyncio.wait((self.task, waiting), timeout=10, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            waiting.cancel()
            await self.task
        told: dict[str, Any] = waiting.result()["realtime"]
        return told

    async def output(self) -> dict[str, Any]:
        async with asyncio.timeout(10):
            return await self.task


Start = Callable[..., Job]


@pytest.fixture
async def start(echo: Echo) -> AsyncIterator[Start]:
    jobs: list[Job] = []
    door, port = Door(), free_port()

    def begin(settings: dict[str, Any] | None = None, **job_input: Any) -> Job:
        request = parse_job({"input": {"path": "/v1/realtime", "query": {"model": "m"}} | job_input})
        table = Settings(**({"realtime_port": port} | (settings or {})))
        progress: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        task = asyncio.create_task(hold_session(request, table, echo.url, progress.put, door))
        jobs.append(Job(task, progress))
        return jobs[-1]

    yield begin
    for job in jobs:
        job.task.cancel()
    await asyncio.gather(*(job.task for job in jobs), return_exceptions=True)
    assert not listens(port), "the port is closed when no session is open"


def listens(port: int) -> bool:
    with sockets.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@asynccontextmanager
async def visit(told: dict[str, Any], **options: Any) -> AsyncIterator[ClientConnection]:
    headers = {"Authorization": f"Bearer {told['token']}"}
    async with connect(told["url"], **({"additional_headers": headers, "max_size": None} | options)) as socket:
        yield socket


async def refused(url: str, **options: Any) -> tuple[int, str]:
    with pytest.raises(InvalidStatus) as refusal:
        async with connect(url, **options):
            pass
    response = refusal.value.response
    return response.status_code, json.loads(response.body or b"")["error"]["code"]


REFUSED = (403, "invalid_token")


# --- the bridge ---


async def test_messages_pass_both_ways_and_the_output_tells_of_the_session(start: Start):
    job = start(headers={"OpenAI-Beta": "realtime=v1"})
    told = await job.realtime()
    async with visit(told) as socket:
        greeting = json.loads(await socket.recv())
        assert greeting["path"] == "/v1/realtime?model=m"
        assert greeting["headers"]["openai-beta"] == "realtime=v1"
        for message in ["hello", b"\x00\x01", "x" * 5_000_000, json.dumps({"type": "input_audio_buffer.committed"})]:
            await socket.send(message)
            assert await socket.recv() == message
    output = await job.output()
    assert output | {"seconds": 0} == {
        "status": "success",
        "reason": "client_left",
        "seconds": 0,
        "audio_seconds_in": 0.0,
        "audio_seconds_out": 0.0,
        "turns": 1,
    }


async def test_the_servers_key_goes_to_the_server_and_the_token_does_not(start: Start):
    job = start({"server_api_key": "server-key"})
    told = await job.realtime()
    async with visit(told) as socket:
        greeting = await socket.recv()
    assert "Bearer server-key" in greeting
    assert told["token"] not in greeting


async def test_the_server_that_ends_the_session_says_why(start: Start):
    job = start()
    async with visit(await job.realtime()) as socket:
        await socket.recv()
        await socket.send("hang up")
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert socket.close_reason == "session_expired"
    assert (await job.output())["reason"] == "session_expired"


async def test_a_server_that_refuses_fails_the_job_in_its_own_words(start: Start, echo: Echo):
    echo.refuse = True
    job = start()
    async with visit(await job.realtime()) as socket:
        with pytest.raises(ConnectionClosed):
            await socket.recv()
    with pytest.raises(ServerError) as failed:
        await job.output()
    assert (failed.value.status, failed.value.code, failed.value.message) == (429, "busy", "busy")


async def test_a_server_that_is_not_there_fails_the_job(start: Start, echo: Echo):
    echo.url = f"http://127.0.0.1:{free_port()}"
    job = start()
    async with visit(await job.realtime()) as socket:
        with pytest.raises(ConnectionClosed):
            await socket.recv()
    with pytest.raises(ServerUnavailable):
        await job.output()


# --- who is let in ---


@pytest.mark.parametrize("way", ["query", "header", "subprotocol"])
async def test_the_token_may_come_in_three_ways(start: Start, way: str):
    told = await start().realtime()
    url, token = told["url"], told["token"]
    options: dict[str, dict[str, Any]] = {
        "query": {},
        "header": {"additional_headers": {"Authorization": f"Bearer {token}"}},
        "subprotocol": {"subprotocols": ["realtime", f"openai-insecure-api-key.{token}"]},
    }
    async with connect(f"{url}?token={token}" if way == "query" else url, **options[way]) as socket:
        assert "session.created" in str(await socket.recv())
        assert socket.subprotocol in (None, "realtime")


@pytest.mark.parametrize("query", ["", "?token=", "?token=wrong", "?token=%00%ff", "?api_key=x"])
async def test_a_missing_or_wrong_token_is_refused_and_spoils_nothing(start: Start, query: str):
    told = await start().realtime()
    assert await refused(told["url"] + query) == REFUSED
    async with visit(told) as socket:
        await socket.recv()


async def test_a_token_admits_one_client_once(start: Start):
    job = start()
    other = start()  # keeps the port open
    told = await job.realtime()
    await other.realtime()
    bearer = {"additional_headers": {"Authorization": f"Bearer {told['token']}"}}
    async with visit(told) as socket:
        await socket.recv()
        assert await refused(told["url"], **bearer) == REFUSED, "while it talks"
    await job.output()
    assert await refused(told["url"], **bearer) == REFUSED, "and after"


async def test_an_expired_token_is_refused_and_its_job_ends(start: Start):
    job = start({"realtime_connect_timeout": 0.2})
    other = start()
    told = await job.realtime()
    await other.realtime()
    assert (await job.output())["reason"] == "nobody_came"
    assert await refused(told["url"] + f"?token={told['token']}") == REFUSED


@pytest.mark.parametrize("jump", [-1e6, 1e6])
async def test_a_token_ends_with_its_time_whoever_sets_the_clock(monkeypatch: pytest.MonkeyPatch, jump: float):
    visit = Visit("ws://127.0.0.1:9", {}, Meter(), Settings(realtime_connect_timeout=0.2))
    set_to = time.time() + jump
    monkeypatch.setattr(time, "time", lambda: set_to)
    assert visit.admits(visit.token)
    async with asyncio.timeout(5):
        assert await visit.until_over(60) == "nobody_came"
    late = Visit("ws://127.0.0.1:9", {}, Meter(), Settings(realtime_connect_timeout=0))
    assert not late.admits(late.token)


@pytest.mark.parametrize(
    "head",
    [
        b"Authorization: Bearer \xff\xfe",
        b"Authorization: Bearer a\r\nAuthorization: Bearer b",
        b"Sec-WebSocket-Protocol: " + b"openai-insecure-api-key.x," * 300,
    ],
)
@pytest.mark.parametrize("path", [b"/", b"//[", b"/?token=%ff&token=" + b"&token=x" * 900])
async def test_whatever_a_stranger_shows_the_answer_is_403(
    start: Start, caplog: pytest.LogCaptureFixture, head: bytes, path: bytes
):
    told = await start().realtime()
    port = int(told["url"].split(":")[2].split("/")[0])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
    writer.write(b"Sec-WebSocket-Key: MDEyMzQ1Njc4OTAxMjM0NQ==\r\nSec-WebSocket-Version: 13\r\n" + head + b"\r\n\r\n")
    async with asyncio.timeout(10):
        assert (await reader.readline()).startswith(b"HTTP/1.1 403")
    writer.close()
    assert caplog.records == [], "a stranger writes nothing into the log"
    async with visit(told) as socket:
        await socket.recv()


# --- strangers who say nothing ---


@pytest.mark.parametrize("tls", [False, True])
async def test_a_crowd_that_says_nothing_leaves_room_for_a_guest(start: Start, tmp_path: Path, tls: bool):
    certificate, key = self_signed(tmp_path)
    secure = {"realtime_certificate": str(certificate), "realtime_private_key": str(key)} if tls else {}
    job = start({"realtime_max_waiting": 8, "realtime_handshake_timeout": 60, **secure})
    told = await job.realtime()
    port = int(told["url"].split(":")[2].split("/")[0])
    options = {"ssl": ssl.create_default_context(cafile=str(certificate))} if tls else {}
    crowd = [await asyncio.open_connection("127.0.0.1", port) for _ in range(40)]
    async with asyncio.timeout(20):
        for reader, _ in crowd[:-8]:
            assert await reader.read() == b"", "who waits longest goes"
        async with visit(told, **options) as socket:
            await socket.recv()
            crowd += [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]
            await crowd[40][0].read()
            await socket.send("a guest stays")
            assert await socket.recv() == "a guest stays"
        assert (await job.output())["reason"] == "client_left"
        for reader, writer in crowd:  # the job's end did not wait for them, and they are gone
            assert await reader.read() == b""
            writer.close()


@pytest.mark.parametrize("said", [b"", b"GET /v1/realtime HTTP/1.1\r\n"])
async def test_a_handshake_has_a_limit(start: Start, said: bytes):
    told = await start({"realtime_handshake_timeout": 0.3}).realtime()
    reader, writer = await asyncio.open_connection("127.0.0.1", int(told["url"].split(":")[2].split("/")[0]))
    writer.write(said)
    async with asyncio.timeout(10):
        assert await reader.read() == b""
    writer.close()


async def test_each_of_several_sessions_has_its_own_client(start: Start, echo: Echo):
    jobs = [start(query={"model": f"m{number}"}) for number in range(3)]
    told = [await job.realtime() for job in jobs]
    assert len({one["token"] for one in told}) == 3
    for number in (2, 0, 1):
        async with visit(told[number]) as socket:
            assert f"model=m{number}" in str(await socket.recv())
    assert [(await job.output())["reason"] for job in jobs] == ["client_left"] * 3
    assert echo.open == 0


# --- how it ends ---


async def test_a_cancelled_job_hangs_up_and_closes_the_port(start: Start, echo: Echo):
    job = start()
    told = await job.realtime()
    async with visit(told) as socket:
        await socket.recv()
        job.task.cancel()
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        with pytest.raises(asyncio.CancelledError):
            await job.output()
    assert not listens(int(told["url"].split(":")[2].split("/")[0]))
    assert echo.open == 0


async def test_a_cancelled_job_leaves_the_other_sessions_alone(start: Start):
    first, second = start(), start()
    told_first, told_second = await first.realtime(), await second.realtime()
    async with visit(told_first) as one, visit(told_second) as two:
        await one.recv()
        await two.recv()
        first.task.cancel()
        with pytest.raises(ConnectionClosed):
            await one.recv()
        await two.send("still here")
        assert await two.recv() == "still here"


@pytest.mark.parametrize(
    ("settings", "reason"),
    [({"realtime_idle_timeout": 0.3}, "idle"), ({"realtime_max_seconds": 0.3}, "time_limit")],
)
async def test_a_silent_or_endless_session_is_ended(start: Start, settings: dict[str, float], reason: str):
    job = start(settings)
    async with visit(await job.realtime()) as socket:
        await socket.recv()
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert socket.close_reason == reason
    assert (await job.output())["reason"] == reason


async def test_a_session_that_is_used_does_not_go_idle(start: Start):
    job = start({"realtime_idle_timeout": 0.5})
    async with visit(await job.realtime()) as socket:
        await socket.recv()
        for _ in range(8):
            await asyncio.sleep(0.1)
            await socket.send("still here")
            assert await socket.recv() == "still here"
    assert (await job.output())["reason"] == "client_left"


def test_the_session_ends_before_its_job_does():
    job = parse_job({"input": {"path": "/v1/realtime", "timeout": 30}})
    assert time_limit(job, Settings()) == 29
    assert time_limit(job, Settings(job_timeout=1)) == 0.5
    assert time_limit(job, Settings(realtime_max_seconds=10)) == 10


async def test_without_a_port_the_error_says_which_setting_is_missing(start: Start):
    with pytest.raises(RealtimeUnavailable, match="WORKER_REALTIME_PORT"):
        await start({"realtime_port": 0}).output()


async def test_a_port_that_is_taken_is_an_error(start: Start):
    with sockets.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(RealtimeUnavailable, match="cannot be opened"):
            await start({"realtime_port": taken.getsockname()[1]}).output()


# --- addresses and TLS ---


def test_the_address_is_the_one_the_platform_gives_the_port():
    settings = Settings(realtime_port=7000, public_ip="1.2.3.4")
    environ = {"RUNPOD_TCP_PORT_7000": "40123"}
    assert public_url(settings, 7000, "/v1/realtime", environ) == "ws://1.2.3.4:40123/v1/realtime"
    assert public_url(Settings(realtime_port=7000), 7000, "/v3/realtime", {}) == "ws://127.0.0.1:7000/v3/realtime"
    assert public_url(Settings(public_ip="2001:db8::1"), 7000, "/v1/realtime", {}).startswith("ws://[2001:db8::1]:7000")


async def test_with_a_certificate_the_port_speaks_tls(start: Start, tmp_path: Path):
    certificate, key = self_signed(tmp_path)
    told = await start({"realtime_certificate": str(certificate), "realtime_private_key": str(key)}).realtime()
    assert told["url"].startswith("wss://127.0.0.1")
    trust = ssl.create_default_context(cafile=str(certificate))
    async with visit(told, ssl=trust) as socket:
        assert "session.created" in str(await socket.recv())


async def test_a_certificate_that_is_none_is_an_error(start: Start, tmp_path: Path):
    (tmp_path / "bad.pem").write_text("not a certificate")
    with pytest.raises(RealtimeUnavailable, match="WORKER_REALTIME_CERTIFICATE"):
        await start({"realtime_certificate": str(tmp_path / "bad.pem")}).output()


def self_signed(folder: Path) -> tuple[Path, Path]:
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "cert.pem").write_bytes(certificate.public_bytes(pem))
    plain = serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return folder / "cert.pem", folder / "key.pem"
