"""This side of `sound`: lengths, and the pieces of local recordings, each made when it is asked for."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from endpoint.errors import Refused

_ROOT = Path(__file__).parents[2]
_LENGTH_SECONDS = 60.0
_STALLED = 600.0  # seconds: no piece takes longer to be read
_LINE = 1 << 16


@dataclass(frozen=True, slots=True)
class Part:
    """From second `start` to `end` (None: to the end) of a recording: a `file` of its own, or a part of a `url`'s."""

    number: int
    start: float
    end: float | None
    file: BinaryIO | None = None
    url: str | None = None

    def close(self) -> None:
        if self.file:
            self.file.close()


class Readers:
    """Processes that read recordings, kept for the next one; `close` ends them."""

    def __init__(self, most: int) -> None:
        self._free = asyncio.Semaphore(most)
        self._idle: list[Process] = []

    async def length_of(self, source: str) -> float | None:
        """Seconds of a path or a URL; None where its header does not say. Raises Refused where it has none."""
        async with self._reader() as reader:
            said = await reader.ask({"length": source}, _LENGTH_SECONDS)
            length: float | None = said["seconds"]
            return length

    async def reference(self, path: Path) -> bytes:
        """Somebody's voice as MP3. Raises Refused where it is no sound, too short or too long."""
        async with self._reader() as reader:
            return await reader.sound({"reference": str(path)}, _LENGTH_SECONDS)

    @asynccontextmanager
    async def pieces_of(self, path: Path, seconds: float, done: Collection[int]) -> AsyncIterator[Reader]:
        """A reader whose `next` gives the pieces."""
        async with self._reader() as reader:
            reader.order({"pieces": str(path), "seconds": seconds, "done": sorted(done)})
            yield reader

    @asynccontextmanager
    async def _reader(self) -> AsyncIterator[Reader]:
        async with self._free:
            process = self._idle.pop() if self._idle else await _started()
            reader = Reader(process)
            try:
                yield reader
            finally:
                if reader.is_done:
                    self._idle.append(process)
                else:
                    await _ended(process)

    async def close(self) -> None:
        while self._idle:
            await _ended(self._idle.pop())


class Reader:
    """One order to such a process; `is_done` when it has answered all of it."""

    def __init__(self, process: Process) -> None:
        assert process.stdin
        assert process.stdout
        self._process = process
        self._in, self._out = process.stdin, process.stdout
        self.is_done = False

    def order(self, what: dict[str, Any]) -> None:
        self._in.write(json.dumps(what).encode() + b"\n")

    async def ask(self, what: dict[str, Any], seconds: float) -> dict[str, Any]:
        self.order(what)
        said = await self._answer(seconds)
        self.is_done = True
        return said

    async def sound(self, what: dict[str, Any], seconds: float) -> bytes:
        self.order(what)
        file = await self._file((await self._answer(seconds))["size"])
        self.is_done = True
        if not file:
            return b""
        with file:
            file.seek(0)
            return file.read()

    async def next(self) -> Part | None:
        """The next piece; one that is done comes without its sound; None after the last. Raises Refused."""
        self._in.write(b"\n")
        said = await self._answer(_STALLED)
        if "end" in said and "number" not in said:
            self.is_done = True
            return None
        return Part(said["number"], said["start"], said["end"], await self._file(said["size"]))

    async def _answer(self, seconds: float) -> dict[str, Any]:
        try:
            async with asyncio.timeout(seconds):
                with suppress(OSError):  # it has ended: what it has said is read
                    await self._in.drain()
                line = await self._out.readline()
                if not line:
                    raise Refused(f"what reads it ended with {await self._process.wait()}")
        except TimeoutError:
            raise Refused(f"it could not be read on within {seconds:g} s") from None
        said: dict[str, Any] = json.loads(line)
        if "error" in said:
            self.is_done = True
            raise Refused(said["error"])
        return said

    async def _file(self, size: int) -> BinaryIO | None:
        """Without a name, so that nothing is left of it whatever happens to this process."""
        if not size:
            return None
        file = tempfile.TemporaryFile()  # noqa: SIM115 - the piece's, which closes it
        try:
            async with asyncio.timeout(_STALLED):
                while size:
                    block = await self._out.read(min(size, _LINE))
                    if not block:
                        raise Refused(f"what reads it ended with {await self._process.wait()}")
                    file.write(block)
                    size -= len(block)
        except BaseException:
            file.close()
            raise
        return file


async def _started() -> Process:
    # The environment holds keys, and the reader of a file needs none.
    names = ("PATH", "TMPDIR", "LANG", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "https_proxy", "http_proxy", "no_proxy")
    env = {name: os.environ[name] for name in names if name in os.environ} | {"PYTHONPATH": str(_ROOT)}
    command = [sys.executable, "-m", "endpoint.bulk.sound"]
    return await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, env=env, limit=_LINE)


async def _ended(process: Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()
