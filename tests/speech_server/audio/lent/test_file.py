"""A lent file is read like any other; who does not know the key is lent nothing; who ends it waits for nobody."""

from __future__ import annotations

import asyncio
import io
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from speech_server.audio import decode, vetting
from speech_server.audio.lent.file import BLOCK, Lent, is_lent
from speech_server.errors import InvalidRequest, LenderFailed, RequestTooLarge
from tests.speech_server.audio.bombs import tagged_mp3
from tests.speech_server.audio.making import make

KEY = "0123abcd"
LIMITS = decode.Limits(3600)


class Lender:
    """Reads below `good` are answered; at `stuck` none ends."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.good = len(data)
        self.stuck = 1 << 60
        self.is_stuck, self.go_on = threading.Event(), threading.Event()
        self.asked: list[tuple[int, int]] = []
        self.type = ""

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        start, end = map(int, request.headers["range"].removeprefix("bytes=").split("-"))
        self.asked.append((start, end))
        if start <= self.stuck <= end:
            self.is_stuck.set()
            self.go_on.wait(60)
        body = self.data[start : end + 1]
        is_good = start < self.good and body != b""
        request.send_response(206 if is_good else 502)
        if is_good:
            request.send_header("content-range", f"bytes {start}-{start + len(body) - 1}/{len(self.data)}")
        request.send_header("content-type", "audio/x-lent")
        request.send_header("content-length", str(len(body) if is_good else 0))
        request.end_headers()
        request.wfile.write(body if is_good else b"")


@contextmanager
def lending(data: bytes) -> Iterator[Lender]:
    lender = Lender(data)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            lender.answer(self)

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # of readers that were ended
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}/{KEY}/an-id"
    lender.type = f'message/external-body; access-type=URL; URL="{url}"'
    try:
        yield lender
    finally:
        lender.go_on.set()
        server.shutdown()
        thread.join()
        server.server_close()


def test_it_reads_as_the_file_does():
    data = make("wav", seconds=30.0)
    with lending(data) as lender:
        file, same = Lent(lender.type, KEY), io.BytesIO(data)
        assert (file.size, file.content_type) == (len(data), "audio/x-lent")
        for place, whence, count in ((0, 0, 10), (-20, 2, 50), (700_000, 0, 300_000), (5, 1, 5), (0, 2, 1), (3, 0, -1)):
            assert file.seek(place, whence) == same.seek(place, whence)
            assert file.read(count) == same.read(count)
        assert all(end - start < BLOCK for start, end in lender.asked)
        file.end()


@pytest.mark.parametrize(
    "change",
    [
        (KEY, "other"),
        (f"/{KEY}/", "/"),
        ("127.0.0.1", "127.0.0.2"),
        ("127.0.0.1", "localhost"),
        ("http:", "https:"),
        ("an-id", "an-id?x"),
        ("an-id", "../x"),
        ('"http', '"file:///etc/passwd" http'),
        ("URL=", "LOCAL-FILE="),
    ],
)
def test_no_other_address_is_read(change: tuple[str, str]):
    with lending(b"x" * 10) as lender:
        assert is_lent(lender.type.replace(*change))
        with pytest.raises(InvalidRequest):
            Lent(lender.type.replace(*change), KEY)
        assert lender.asked == []


def test_where_nobody_lends_every_key_is_wrong():
    with lending(b"x" * 10) as lender:
        for content_type in (lender.type, lender.type.replace(f"/{KEY}/", "//"), lender.type.replace(f"/{KEY}", "")):
            with pytest.raises(InvalidRequest):
                Lent(content_type, "")
        assert lender.asked == []


def test_a_part_that_cannot_be_had_is_an_error_and_no_end_of_the_sound():
    with lending(make("wav", seconds=60.0)) as lender:
        file = Lent(lender.type, KEY)
        lender.good = 2 * BLOCK
        blocks = decode.stream(file, LIMITS, block_seconds=1.0)
        with pytest.raises(LenderFailed):
            list(blocks)
        file.end()


def test_a_file_nobody_lends_any_more():
    with lending(b"x" * 10) as lender:
        lender.good = 0
        with pytest.raises(LenderFailed):
            Lent(lender.type, KEY)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(LenderFailed):
        Lent(f'message/external-body; access-type=URL; URL="http://127.0.0.1:{port}/{KEY}/x"', KEY)


def test_ending_it_ends_a_read_that_waits():
    with lending(make("wav", seconds=60.0)) as lender:
        lender.stuck = 3 * BLOCK
        file = Lent(lender.type, KEY)
        failed = threading.Event()

        def read() -> None:
            try:
                file.read()
            except LenderFailed:
                failed.set()

        reader = threading.Thread(target=read)
        reader.start()
        assert lender.is_stuck.wait(30)
        file.end()
        assert failed.wait(30)
        reader.join()


@pytest.fixture(autouse=True)
def _afresh() -> Iterator[None]:
    yield
    vetting.end()


async def opened(content_type: str) -> None:
    file = Lent(content_type, KEY)
    try:
        await vetting.vet(file)
    finally:
        file.end()


def test_it_is_opened_elsewhere_first():
    with lending(make("m4a", seconds=5.0)) as lender:
        asyncio.run(opened(lender.type))
    with lending(tagged_mp3(40_000)) as lender, pytest.raises(RequestTooLarge, match="too long to open"):
        asyncio.run(opened(lender.type))
