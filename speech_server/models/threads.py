"""Runs a blocking call in a thread of its own that never keeps the process from ending."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")


async def in_thread(call: Callable[[], T], name: str) -> T:
    """The call's result, or its exception. A cancelled wait leaves the thread to finish alone.

    Not asyncio.to_thread: a download takes minutes, would hold one of the few shared threads all that time, and
    the interpreter would wait for it at exit.
    """
    loop = asyncio.get_running_loop()
    waiting: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        with _Delivery(loop, waiting) as delivery:
            delivery.result = call()

    threading.Thread(target=run, name=name, daemon=True).start()
    return await waiting


class _Delivery(Generic[T]):
    """Carries what a thread ends with, a result or whatever it raised, to the task that waits for it."""

    result: T

    def __init__(self, loop: asyncio.AbstractEventLoop, waiting: asyncio.Future[T]) -> None:
        self._loop = loop
        self._waiting = waiting

    def __enter__(self) -> _Delivery[T]:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> bool:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._deliver, error)
        return True

    def _deliver(self, error: BaseException | None) -> None:
        if self._waiting.done():  # cancelled meanwhile
            return
        if error is not None:
            self._waiting.set_exception(error)
        else:
            self._waiting.set_result(self.result)
