"""One job on its way: sent once, watched by whoever asked for it, cancelled when nobody does any more."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from endpoint.errors import EndpointError, NoResult
from endpoint.platform.http import Content
from endpoint.platform.jobs import Jobs, Piece, State

GRACE = 0.6  # seconds after the last watcher has gone: a client that lost its connection comes back at once


class Work:
    """`pieces` grows while the job runs; `state` is its end, or `failure` says why there is none."""

    def __init__(self, jobs: Jobs, job: Content, *, streams: bool, seconds: float, ended: Callable[[], None]) -> None:
        self.pieces: list[Any] = []
        self.state: State | None = None
        self.failure: EndpointError | None = None
        self.watchers = 0
        self.was_left = False  # by the last of them, before it had an answer
        self.began = time.monotonic()
        self.size = 0  # bytes of what it keeps for repeats
        self._ended: float | None = None
        self._changed = asyncio.Event()
        self._leaving: asyncio.TimerHandle | None = None
        self._task = asyncio.create_task(self._run(jobs, job, streams, seconds, ended))

    @contextmanager
    def watched(self) -> Iterator[None]:
        self.watchers += 1
        self.was_left = False
        if self._leaving:
            self._leaving.cancel()
        try:
            yield
        finally:
            self.watchers -= 1
            self.was_left = not self.watchers and self._ended is None
            if self.was_left:
                self._leaving = asyncio.get_running_loop().call_later(GRACE, self._task.cancel)

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    @property
    def is_at_work(self) -> bool:
        return self._ended is None

    def is_over(self, seconds: float) -> bool:
        """Whether it ended so long ago, or without a result: a repeat is a new job then."""
        if self._ended is None:
            return self._task.done()
        return self.state is None or time.monotonic() - self._ended > seconds

    async def until_ended(self) -> State:
        """Raises EndpointError."""
        while self._ended is None:
            await self._changed.wait()
        if self.failure is not None:
            raise self.failure
        assert self.state is not None
        return self.state

    async def piece(self, number: int) -> Any | None:
        """That piece of the stream; None when there are no more."""
        while len(self.pieces) <= number and self._ended is None:
            await self._changed.wait()
        return self.pieces[number] if len(self.pieces) > number else None

    async def stream(self) -> AsyncIterator[Any]:
        number = 0
        while (piece := await self.piece(number)) is not None:
            number += 1
            yield piece

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _run(self, jobs: Jobs, job: Content, streams: bool, seconds: float, ended: Callable[[], None]) -> None:
        try:
            async with asyncio.timeout(seconds), jobs.sent(job, streams=streams) as following:
                async for seen in following:
                    if isinstance(seen, Piece):
                        self.pieces.append(seen.output)
                        self._tell()
                    elif seen.is_final:
                        self.state = seen
        except TimeoutError:
            self.failure = NoResult(f"the job had not ended after {seconds:g} s")
        except EndpointError as error:
            self.failure = error
        except asyncio.CancelledError:
            self.failure = NoResult("nobody waited for the job any more")
        finally:
            ended()
            self.size = _size([*self.pieces, self.state.output if self.state else None])
            self._ended = time.monotonic()
            self._tell()


def _size(value: Any) -> int:
    """About the bytes of what a value holds: nearly all of them are in its texts."""
    if isinstance(value, dict):
        return sum(map(_size, value.values()))
    return sum(map(_size, value)) if isinstance(value, list) else len(value) if isinstance(value, str) else 8
