"""Files of which only parts are read: on the volume, or behind a URL whose server knows ranges (RFC 9110, 14).

Of a URL each block is fetched once, a few at a time where they are read in order, through the door that downloads take.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import IO, Protocol, TypeAlias

import httpx

from worker.errors import MediaUnavailable
from worker.job.download import Download
from worker.scratch import close, scratch_file

BLOCK = 1 << 18  # bytes
MOST_AHEAD = 16  # blocks in one request
_PART = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")

Write = Callable[[IO[bytes], bytes], Awaitable[None]]
Version: TypeAlias = tuple[str | None, str | None]  # ETag, Last-Modified


class Parts(Protocol):
    size: int

    async def read(self, start: int, count: int) -> bytes:
        """Fewer at the end. Raises MediaUnavailable, StorageFull."""
        ...


class LocalParts:
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.size = os.fstat(file.fileno()).st_size

    async def read(self, start: int, count: int) -> bytes:
        return await asyncio.to_thread(os.pread, self._file.fileno(), count, start)


class RemoteParts:
    """What has been fetched lies in `file` at its own place; the rest of it is a hole."""

    def __init__(
        self,
        download: Download,
        client: httpx.AsyncClient,
        file: IO[bytes],
        write: Write,
        first: httpx.Response,
        size: int,
    ) -> None:
        self._download = download
        self._client = client
        self._file = file
        self._write = write
        self._lock = asyncio.Lock()
        self._version = _version_of(first)
        self._left = download.settings.download_timeout
        self._ahead = 1
        self.size = size
        self._missing = [True] * -(-self.size // BLOCK)

    async def read(self, start: int, count: int) -> bytes:
        end = min(start + count, self.size)
        async with self._lock:
            for block in range(start // BLOCK, -(-end // BLOCK)):
                if self._missing[block]:
                    await self._fetch(block)
        return await asyncio.to_thread(os.pread, self._file.fileno(), max(end - start, 0), start)

    async def take(self, response: httpx.Response, first: int, last: int) -> None:
        """Blocks from `first` up to `last`, out of an answer. Raises MediaUnavailable."""
        where, start, end = self._download.where, first * BLOCK, min(last * BLOCK, self.size)
        if _part_of(response) != (start, end - 1, self.size) or _version_of(response) != self._version:
            raise MediaUnavailable(f"{where}: the file changed, or came as a whole, while parts of it were fetched")
        self._file.seek(start)
        left = end - start

        async def write(data: bytes) -> None:
            nonlocal left
            left -= len(data)
            if left < 0:
                raise MediaUnavailable(f"{where}: more came than the part of the file that was asked for")
            await self._write(self._file, data)

        await self._download.read(response, write)
        if left:
            raise MediaUnavailable(f"{where}: a part of the file came without its last {left} bytes")
        self._missing[first:last] = [False] * (last - first)

    async def _fetch(self, first: int) -> None:
        """More at once each time that what follows is asked for."""
        is_next = first > 0 and not self._missing[first - 1]
        self._ahead = min(2 * self._ahead, MOST_AHEAD) if is_next else 1
        last = first
        while last < len(self._missing) and last - first < self._ahead and self._missing[last]:
            last += 1
        headers = {"range": f"bytes={first * BLOCK}-{min(last * BLOCK, self.size) - 1}", **_if_same(self._version)}
        began = time.monotonic()
        try:
            async with self._download.in_time(max(self._left, 0.001)):
                response = await self._download.follow(self._client, headers, (200, 206))
                try:
                    await self.take(response, first, last)
                finally:
                    await response.aclose()
        finally:
            self._left -= time.monotonic() - began


@asynccontextmanager
async def fetched_parts(download: Download, write: Write) -> AsyncIterator[Parts]:
    """Of a server that knows no ranges, all is fetched at once. Raises InvalidJob, MediaUnavailable, StorageFull."""
    file = scratch_file()
    try:
        async with download.client() as client:
            async with download.in_time(download.settings.download_timeout):
                parts = await _begun(download, client, file, write)
            yield parts
    finally:
        close(file)


async def _begun(download: Download, client: httpx.AsyncClient, file: IO[bytes], write: Write) -> Parts:
    response = await download.follow(client, {"range": f"bytes=0-{BLOCK - 1}"}, (200, 206, 416))
    try:
        if part := _part_of(response):
            if part[2] > download.settings.max_download_bytes:
                raise download.too_large(str(part[2]))
            parts = RemoteParts(download, client, file, write, response, part[2])
            await parts.take(response, 0, 1)
            return parts
        if response.status_code != 200:  # an empty file; or ranges without a word of which this is
            await response.aclose()
            response = await download.follow(client)
        await download.read(response, lambda block: write(file, block))
        return LocalParts(file)
    finally:
        await response.aclose()


def _part_of(response: httpx.Response) -> tuple[int, int, int] | None:
    """First byte, last byte, size of the file; None where it is no part."""
    found = _PART.fullmatch(response.headers.get("content-range", ""))
    return (int(found[1]), int(found[2]), int(found[3])) if found and response.status_code == 206 else None


def _version_of(response: httpx.Response) -> Version:
    return response.headers.get("etag"), response.headers.get("last-modified")


def _if_same(version: Version) -> dict[str, str]:
    """A weak tag is none for If-Range."""
    etag, modified = version
    same = etag if etag and not etag.startswith("W/") else modified
    return {"if-range": same} if same else {}
