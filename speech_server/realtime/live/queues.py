"""Two bounded queues between a client and its session: what it sent, and what is on its way to it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sized
from typing import Generic, TypeVar

# Characters of client messages read ahead: about four minutes of audio. Beyond it the client has to wait.
READ_AHEAD = 16 * 1024 * 1024
# Characters of events: whoever makes them waits for room first, and what one step makes beyond this is small.
SEND_BEHIND = 256 * 1024


M = TypeVar("M", bound=Sized)


class Bounded(Generic[M]):
    """A queue of messages with room for `limit` characters. One taker, any number of putters."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting: deque[tuple[M, str | None]] = deque()
        self._size = 0
        self._filled = asyncio.Event()
        self._drained = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def full(self) -> bool:
        return self._size >= self._limit

    async def room(self, size: int = 1) -> None:
        """Wait until `size` more characters fit; anything fits into an empty queue."""
        while self._waiting and self._size + size > self._limit:
            self._drained.clear()
            await self._drained.wait()

    def put(self, message: M, label: str | None = None) -> None:
        self._waiting.append((message, label))
        self._size += len(message)
        self._filled.set()

    async def take(self, most: int = 0) -> list[M]:
        """At least one message, and more while they have at most `most` characters together."""
        while not self._waiting:
            self._filled.clear()
            await self._filled.wait()
        taken = [self._waiting.popleft()[0]]
        size = len(taken[0])
        while self._waiting and size + len(self._waiting[0][0]) <= most:
            taken.append(self._waiting.popleft()[0])
            size += len(taken[-1])
        self._size -= size
        self._drained.set()
        return taken

    def drop(self, label: str) -> None:
        """Forget the messages put in with this label."""
        self._waiting = deque(entry for entry in self._waiting if entry[1] != label)
        self._size = sum(len(message) for message, _ in self._waiting)
        self._drained.set()
