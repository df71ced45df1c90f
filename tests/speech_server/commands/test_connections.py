"""Clients that send slowly, or much of what nobody reads, or nothing, are gone in time; /ping is always answered."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from tests.conftest import ServerProcess
from tests.local_runpod.local_platform import eventually

LIMITS = {"HEADER_TIMEOUT": "1", "BODY_TIMEOUT": "1", "BODY_MIN_RATE": "10000", "SEND_TIMEOUT": "1"}
COUNTS = {"MAX_CONNECTIONS": "60", "MAX_CONCURRENT_REQUESTS": "8"}
PING = b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n"
SPEAK = "POST /v1/audio/speech HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    process = ServerProcess({**LIMITS, **COUNTS})
    yield process
    process.stop()


@pytest.fixture
def opened(server: ServerProcess) -> Iterator[list[socket.socket]]:
    """Connections, closed at the end."""
    made: list[socket.socket] = []
    yield made
    for connection in made:
        connection.close()
    eventually(lambda: connections(server) == 0, 20, "the test's connections are gone")


def connect(server: ServerProcess, opened: list[socket.socket], first: bytes = b"") -> socket.socket:
    address = urlsplit(server.url)
    connection = socket.create_connection((address.hostname or "", address.port or 0), timeout=30)
    opened.append(connection)
    connection.sendall(first)
    return connection


def connections(server: ServerProcess) -> int:
    port = urlsplit(server.url).port
    open_ones = psutil.Process(server.process.pid).net_connections("tcp")
    return sum(one.status == psutil.CONN_ESTABLISHED and one.laddr.port == port for one in open_ones)


def rest(connection: socket.socket) -> bytes:
    """All that comes until the server closes, however it does."""
    data = b""
    with contextlib.suppress(ConnectionError):
        while block := connection.recv(65536):
            data += block
    return data


def said(reply: bytes) -> tuple[int, str]:
    """Status and code of the last reply."""
    head, _, body = reply.rpartition(b"\r\n\r\n")
    assert b"content-type: application/json" in head
    return int(head.rpartition(b"HTTP/1.1 ")[2][:3]), json.loads(body)["error"]["code"]


def drip(connections: list[socket.socket], byte: bytes) -> None:
    """One byte now and then on each, until all are cut off."""
    deadline = time.monotonic() + 30
    while connections:
        assert time.monotonic() < deadline, f"{len(connections)} are still open"
        for connection in list(connections):
            try:
                connection.sendall(byte)
            except OSError:
                connections.remove(connection)
        time.sleep(0.05)  # the clients' pace, not a wait for anything


SLOW = {
    "nothing": b"",
    "a request line": b"POST /v1/audio/spe",
    "headers": SPEAK.encode(),
    "blank lines": b"\r\n",
    "after another request": PING + b"POST /v1",
}


@pytest.mark.parametrize("name", SLOW)
def test_headers_have_a_deadline(server: ServerProcess, opened: list[socket.socket], name: str):
    reply = rest(connect(server, opened, SLOW[name]))
    if name in ("nothing", "blank lines"):
        assert b" 200 " not in reply
    elif name != "after another request":  # that one is closed as an idle connection
        assert said(reply) == (408, "request_timeout")


BODIES = {
    "a lying length": SPEAK + "Content-Length: 1000\r\n\r\n{",
    "chunked": SPEAK + "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
    "a form": "POST /v1/audio/transcriptions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n"
    "Content-Type: multipart/form-data; boundary=x\r\n\r\n--x",
}


@pytest.mark.parametrize("name", BODIES)
def test_bodies_have_a_deadline(server: ServerProcess, opened: list[socket.socket], name: str):
    assert said(rest(connect(server, opened, BODIES[name].encode()))) == (408, "request_timeout")


def test_half_open_requests_are_gone_in_time_and_ping_answers_meanwhile(
    server: ServerProcess, opened: list[socket.socket]
):
    slow = [connect(server, opened, f"{SPEAK}X: ".encode()) for _ in range(200)]
    eventually(lambda: connections(server) <= 60, 10, "no more than MAX_CONNECTIONS")
    assert httpx.get(server.url + "/ping").status_code == 200
    drip(slow, b"a")


def test_slow_bodies_are_gone_in_time(server: ServerProcess, opened: list[socket.socket]):
    drip([connect(server, opened, f"{SPEAK}Content-Length: 100000\r\n\r\n".encode()) for _ in range(8)], b" ")
    eventually(lambda: httpx.get(server.url + "/v1/registry").status_code == 200, 10, "room again")


def test_a_body_that_keeps_its_pace_is_not_cut_off(server: ServerProcess, opened: list[socket.socket]):
    body = json.dumps({"model": "no/such", "input": "a" * 60_000}).encode()
    connection = connect(server, opened, f"{SPEAK}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode())
    began = time.monotonic()
    for start in range(0, len(body), 2000):  # 20 kB/s: three times as long as BODY_TIMEOUT
        connection.sendall(body[start : start + 2000])
        time.sleep(max(0.0, began + start / 20_000 - time.monotonic()))
    assert said(rest(connection)) == (404, "model_not_found")


def test_the_rest_of_a_refused_body_is_not_read_for_ever(server: ServerProcess, opened: list[socket.socket]):
    connection = connect(
        server, opened, f"{SPEAK.replace('speech', 'nothing')}Transfer-Encoding: chunked\r\n\r\n".encode()
    )
    drip([connection], b"1\r\na\r\n" * 1000)


def test_a_client_that_reads_nothing_is_cut_off(server: ServerProcess, opened: list[socket.socket]):
    connection = connect(server, opened)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n" * 1000)
    eventually(lambda: connections(server) == 1)
    eventually(lambda: connections(server) == 0, 30, "cut off")


@pytest.mark.parametrize(
    "head",
    [
        b"GET /ping HTTP/1.1\r\n" + b"X: " + b"a" * 1_000_000,
        b"GET /" + b"a" * 1_000_000,
        b"GET /ping HTTP/1.1\r\n" + b"a" * 1_000_000,
        b"GET /ping HTTP/1.1\r\n" + b"X: a\r\n" * 100_000,
        b"GET /ping HTTP/1.1\r\nHost: a\r\n" + b"X: a\r\n" * 200 + b"\r\n",
        b"GET /ping HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 66_000 + b"\r\n\r\n",
        SPEAK.encode() + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"x" * 1_000_000,
        SPEAK.encode() + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\nX: " + b"a" * 1_000_000,
    ],
    ids=["a value", "a path", "a name", "many", "200", "66 kB at once", "a chunk's extension", "a trailer"],
)
def test_headers_are_bounded(server: ServerProcess, opened: list[socket.socket], head: bytes):
    connection = connect(server, opened)
    with contextlib.suppress(ConnectionError):
        connection.sendall(head)
    reply = rest(connection)
    if reply:  # else reset, with the rest unread
        assert said(reply)[0] in (400, 431)
    assert httpx.get(server.url + "/ping").status_code == 200


@pytest.mark.parametrize(
    "raw",
    [
        b"nonsense\r\n\r\n",
        SPEAK.encode() + b"Content-Length: 99999999999999999999999\r\n\r\n",
        SPEAK.encode() + b"Content-Length: -1\r\n\r\n",
        SPEAK.encode() + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        SPEAK.encode() + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        SPEAK.encode() + b"Transfer-Encoding: chunked\r\n\r\nz\r\n",
        b"GET /ping HTTP/1.1\r\nHost: a\r\nX\x00: b\r\n\r\n",
    ],
    ids=repr,
)
def test_what_is_no_http_is_400_with_the_envelope(server: ServerProcess, opened: list[socket.socket], raw: bytes):
    assert said(rest(connect(server, opened, raw))) == (400, "http_400")


@pytest.fixture
def patient() -> Iterator[ServerProcess]:
    process = ServerProcess(COUNTS)
    yield process
    process.stop()


def test_more_requests_than_are_worked_on_are_503_and_ping_is_not(patient: ServerProcess, opened: list[socket.socket]):
    server = patient
    body = b'{"model": "m"'
    for _ in range(8):
        connect(server, opened, f"{SPEAK}Content-Length: 1000000\r\nExpect: 100-continue\r\n\r\n".encode() + body)
    eventually(lambda: httpx.get(server.url + "/health").json()["in_flight"] == 8, 10, "all places are taken")
    answer = httpx.get(server.url + "/v1/registry")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "overloaded")
    assert answer.headers["retry-after"] == "1"
    assert [httpx.get(f"{server.url}/{path}").status_code for path in ("ping", "health", "metrics")] == [200] * 3
    handshake = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    key = {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
    assert httpx.get(server.url + "/v1/realtime", headers={**handshake, **key}).status_code == 503


def test_a_new_connection_is_taken_in_place_of_the_one_idle_for_longest(
    server: ServerProcess, opened: list[socket.socket]
):
    for _ in range(3):
        for _ in range(60):
            connect(server, opened)
        assert httpx.get(server.url + "/ping").status_code == 200
    assert connections(server) <= 60


def test_a_websocket_handshake_that_its_parser_refuses_is_closed(server: ServerProcess, opened: list[socket.socket]):
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    raw = b"GET /v1/realtime HTTP/1.1\r\nHost: a\r\n" + upgrade + b"X: " + b"a" * 20_000 + b"\r\n\r\n"
    assert b" 101 " not in rest(connect(server, opened, raw))
