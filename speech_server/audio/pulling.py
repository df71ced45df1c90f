"""A blocking iterator run step by step on a pool's threads, one step at a time, and closed whatever happens."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Generator, Iterator
from concurrent.futures import Future
from typing import Generic, TypeVar

from outgoing import tracing
from speech_server.pools import Pool

T = TypeVar("T")

CLOSING_SECONDS = 1.0  # that a close waits for the step under way


class Puller(Generic[T]):
    """`stop` is set when nobody waits for more; the iterator asks it during its steps. `first` is waited for before
    the first of them."""

    def __init__(
        self,
        items: Iterator[T],
        pool: Pool,
        stop: threading.Event,
        first: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._items = items
        self._first = first
        self._pool = pool
        self._stop = stop
        self._lock = threading.Lock()
        self._step: Future[T | None] | None = None
        self._place = tracing.here()
        self._span = tracing.SILENT

    async def pull(self) -> T | None:
        """The next item, or None at the end."""
        if self._step is None:
            self._span = tracing.begin("read_audio", self._place)
        first, self._first = self._first, None
        if first is not None:
            await first()
        self._step = self._pool.submit(self._next)
        item = await asyncio.wrap_future(self._step)
        if item is None:
            self._end()
        return item

    async def close(self) -> None:
        """Takes no thread. A step that does not end in time closes the iterator itself, when it does."""
        self._stop.set()
        if self._step is not None and not self._step.done():
            step = asyncio.wrap_future(self._step)
            step.add_done_callback(lambda step: step.cancelled() or step.exception())  # nobody's business any more
            await asyncio.wait([step], timeout=CLOSING_SECONDS)
        self._close_if_free()
        self._end()

    def _end(self) -> None:
        span, self._span = self._span, tracing.SILENT
        span.end()

    def _next(self) -> T | None:
        try:
            with self._lock:
                return None if self._stop.is_set() else next(self._items, None)
        finally:
            if self._stop.is_set():  # asked after the lock was given back: one of the two closes
                self._close_if_free()

    def _close_if_free(self) -> None:
        if isinstance(self._items, Generator) and self._lock.acquire(blocking=False):
            try:
                self._items.close()
            finally:
                self._lock.release()
