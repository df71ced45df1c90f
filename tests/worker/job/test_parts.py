"""Of a file behind a URL each part is fetched once, through the door, and never from another version of it."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any

import pytest

from tests.ranged_server import Ranged, served
from worker.errors import MediaUnavailable, WorkerError
from worker.job import download
from worker.job.download import Download
from worker.job.parts import BLOCK, Parts, fetched_parts
from worker.scratch import keep
from worker.settings import Settings

pytestmark = pytest.mark.anyio

DATA = bytes(range(251)) * (20 * BLOCK // 251)


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield
    assert [
        fd for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink() and str(tmp_path) in str(fd.readlink())
    ] == []


@asynccontextmanager
async def parts_of(url: str, **settings: Any) -> AsyncIterator[Parts]:
    async def write(file: IO[bytes], block: bytes) -> None:
        await asyncio.to_thread(keep, file, block)

    options = {"allow_private_urls": True, **settings}
    async with fetched_parts(Download(url, "input.file_url", Settings(**options)), write) as parts:
        yield parts


async def read_all(url: str, **settings: Any) -> bytes:
    async with parts_of(url, **settings) as parts:
        return b"".join([await parts.read(place, BLOCK) for place in range(0, parts.size, BLOCK)])


async def refusal(ranged: Ranged, **settings: Any) -> WorkerError:
    with served(ranged), pytest.raises(WorkerError) as caught:
        await read_all(ranged.url, **settings)
    return caught.value


async def test_what_is_read_is_what_is_there_and_nothing_is_fetched_twice():
    with served(Ranged(DATA)) as server:
        async with parts_of(server.url) as parts:
            assert parts.size == len(DATA)
            for start, count in (
                (5 * BLOCK + 7, 100),
                (0, 10),
                (6 * BLOCK - 3, 6),
                (len(DATA) - 9, 50),
                (5, 3 * BLOCK),
            ):
                assert await parts.read(start, count) == DATA[start : start + count]
                assert await parts.read(start, count) == DATA[start : start + count]
            assert await parts.read(len(DATA) + 5, 10) == b""
            assert server.sent < 10 * BLOCK
            await asyncio.gather(*(parts.read(place, BLOCK) for place in range(0, len(DATA), BLOCK)))
        assert server.sent == len(DATA)


async def test_what_is_read_in_order_takes_few_requests():
    with served(Ranged(DATA)) as server:
        async with parts_of(server.url) as parts:
            read = [await parts.read(place, 10_000) for place in range(0, len(DATA), 10_000)]
        assert b"".join(read) == DATA
        assert len(server.asked) < 8


@pytest.mark.parametrize("how", [{"ranges": False}, {"names_part": False}])
async def test_a_server_without_ranges_gives_the_whole(how: dict[str, bool]):
    with served(Ranged(DATA, **how)) as server:
        async with parts_of(server.url) as parts:
            assert await parts.read(3 * BLOCK, 10) == DATA[3 * BLOCK : 3 * BLOCK + 10]
            assert await parts.read(0, len(DATA)) == DATA
        assert server.sent <= len(DATA) + BLOCK


async def test_an_empty_file_is_empty():
    with served(Ranged(b"")) as server:
        async with parts_of(server.url) as parts:
            assert parts.size == 0


async def test_a_file_that_changes_is_not_put_together_out_of_two():
    for etag in ('"1"', 'W/"1"', None):
        with served(Ranged(DATA, etag=etag)) as server:
            async with parts_of(server.url) as parts:
                server.etag = '"2"'
                with pytest.raises(MediaUnavailable, match="changed"):
                    await parts.read(9 * BLOCK, 10)
            async with parts_of(server.url) as parts:
                server.data += b"more"
                with pytest.raises(MediaUnavailable, match="changed"):
                    await parts.read(9 * BLOCK, 10)
                server.data = DATA


async def test_a_url_that_answers_no_longer_is_named():
    error = await refusal(Ranged(DATA, status_after=(2, 403)))
    assert "answered 403" in error.message
    assert "needs no login" in error.message


async def test_the_limits_are_those_of_a_download():
    assert "RUNPOD_MAX_DOWNLOAD_BYTES" in (await refusal(Ranged(DATA), max_download_bytes=len(DATA) - 1)).message
    assert "RUNPOD_MAX_DOWNLOAD_BYTES" in (await refusal(Ranged(DATA, ranges=False), max_download_bytes=1000)).message
    assert "WORKER_DOWNLOAD_TIMEOUT" in (await refusal(Ranged(DATA), download_timeout=1e-6)).message


async def test_the_time_of_all_its_parts_together_is_limited():
    with served(Ranged(DATA)) as server:
        async with parts_of(server.url, download_timeout=30) as parts:
            await parts.read(2 * BLOCK, 1)
            parts._left = 0  # type: ignore[attr-defined]  # as if 30 s had been spent
            with pytest.raises(MediaUnavailable, match="WORKER_DOWNLOAD_TIMEOUT"):
                await parts.read(9 * BLOCK, 1)


async def test_each_part_goes_through_the_door_and_through_each_redirect(monkeypatch: pytest.MonkeyPatch):
    """The internet stands at 127.0.0.1 here, and what must not be reached at 127.0.0.2."""
    judge = partial(monkeypatch.setattr, download, "is_public")
    judge(lambda address: address == "127.0.0.1")
    with served(Ranged(DATA)) as server:
        server.moved = f"{server.url}/file"
        async with parts_of(f"{server.url}/moved", allow_private_urls=False) as parts:
            assert await parts.read(3 * BLOCK, 4) == DATA[3 * BLOCK : 3 * BLOCK + 4]
            server.moved = server.url.replace("127.0.0.1", "127.0.0.2")
            with pytest.raises(MediaUnavailable, match="not a public address"):
                await parts.read(9 * BLOCK, 4)
