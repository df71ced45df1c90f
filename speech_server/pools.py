"""Threads for blocking calls: one pool per purpose, each with a name, a number of threads and a bounded queue."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from speech_server.errors import Busy

P = ParamSpec("P")
T = TypeVar("T")


class Pool:
    """At most `threads` calls at once, and at most `waiting` more in line; one more is refused with Busy.

    The threads start together at the first call: a process that cannot have them (a limit on its threads) is told
    then, with RuntimeError, and not in the middle of somebody's work. A cancelled wait takes a call out of the line;
    one that runs goes on alone, and keeps its place until it ends.
    """

    def __init__(self, name: str, threads: int, waiting: int) -> None:
        self.name = name
        self._threads = threads
        self._places = threads + waiting
        self._taken = 0
        self._lock = threading.Lock()
        self._executor: ThreadPoolExecutor | None = None

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.wrap_future(self.submit(call, *args, **kwargs))

    def submit(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        with self._lock:
            if self._taken >= self._places:
                raise Busy(f"{self._taken} calls already wait for the pool {self.name!r}: try again later")
            executor = self._executor = self._executor or self._started()
            future = executor.submit(partial(call, *args, **kwargs))
            self._taken += 1
        future.add_done_callback(self._leave)
        return future

    def _leave(self, _: object) -> None:
        with self._lock:
            self._taken -= 1

    def _started(self) -> ThreadPoolExecutor:
        executor = ThreadPoolExecutor(self._threads, thread_name_prefix=self.name)
        all_here = threading.Event()
        try:
            for _ in range(self._threads):  # each is taken by a thread of its own, for the ones before still wait
                executor.submit(all_here.wait)
        except RuntimeError:
            executor.shutdown(wait=False, cancel_futures=True)
            raise
        finally:
            all_here.set()
        return executor


# Imports that take tenths of a second, once each: not while the server starts, and not on the event loop.
importing = Pool("importing", 1, waiting=1024)
