"""Lets many requests wait for the same news."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable


class Signals:
    """`wake(key)` makes every `wait(key, ...)` look at its condition again."""

    def __init__(self) -> None:
        self._waiting: dict[Hashable, set[asyncio.Future[None]]] = {}

    def wake(self, key: Hashable) -> None:
        for future in self._waiting.pop(key, ()):
            if not future.done():
                future.set_result(None)

    def wake_all(self) -> None:
        for key in list(self._waiting):
            self.wake(key)

    async def wait(self, key: Hashable, condition: Callable[[], bool], seconds: float | None = None) -> bool:
        """Until the condition holds (True) or the time is up (False). None waits without a limit."""
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    await self._next(key)
        except TimeoutError:
            return condition()
        return True

    async def _next(self, key: Hashable) -> None:
        future = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(key, set())
        waiting.add(future)
        try:
            await future
        finally:
            waiting.discard(future)
            if not waiting and self._waiting.get(key) is waiting:
                del self._waiting[key]
