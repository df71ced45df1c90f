"""Voices on their way to an encoder: embedded in lots while others are still looked for, all known in the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import aclosing
from typing import Generic, TypeVar

from speech_server.domain import Embeddings, Samples
from speech_server.engines.interfaces import VoiceEncoder

_LOT = 16  # sounds that are looked at together, or a phrase's: half a minute of speech
_AHEAD = 4  # items that wait
T = TypeVar("T")


class Belt(Generic[T]):
    """On which items come to a task, `take`, that goes over them. `aclose` leaves nothing behind."""

    def __init__(self, take: Callable[[AsyncIterator[T]], Coroutine[None, None, None]]) -> None:
        self._waiting: asyncio.Queue[T | None] = asyncio.Queue(_AHEAD)
        self._taker = asyncio.create_task(take(self._items()))

    async def give(self, item: T | None) -> None:
        """Waits while too much waits. Raises what ended the task, where nobody takes any more."""
        giving = asyncio.ensure_future(self._waiting.put(item))
        await asyncio.wait({giving, self._taker}, return_when=asyncio.FIRST_COMPLETED)
        if not giving.done():
            giving.cancel()
            self._taker.result()

    async def end(self) -> None:
        """Waits until all has been taken."""
        await self.give(None)
        await self._taker

    async def aclose(self) -> None:
        self._taker.cancel()
        await asyncio.gather(self._taker, return_exceptions=True)

    async def _items(self) -> AsyncIterator[T]:
        while (item := await self._waiting.get()) is not None:
            yield item


class Embedding:
    """Belongs to one recording. `aclose` leaves nothing behind."""

    def __init__(self, encoder: VoiceEncoder) -> None:
        self._encoder = encoder
        self._counts: list[int] = []
        self._embeddings: list[Embeddings] = []
        self._lot: list[Samples] = []
        self._lots = Belt(self._embed)

    async def give(self, sounds: Sequence[Samples]) -> None:
        """Waits while too much waits. Raises what the encoder raises."""
        self._counts.append(len(sounds))
        self._lot += sounds
        if len(self._lot) >= _LOT:
            await self._pass_on()

    async def all(self) -> list[Embeddings]:
        """Those of the sounds given each time, in order."""
        import numpy as np

        if self._lot:
            await self._pass_on()
        await self._lots.end()
        if not self._counts:
            return []
        return np.split(np.concatenate(self._embeddings), np.cumsum(self._counts)[:-1])

    async def aclose(self) -> None:
        await self._lots.aclose()

    async def _pass_on(self) -> None:
        lot, self._lot = self._lot, []
        await self._lots.give(lot)

    async def _embed(self, lots: AsyncIterator[list[Samples]]) -> None:
        async with aclosing(self._encoder.embed(lots)) as embedded:
            async for embeddings in embedded:
                self._embeddings.append(embeddings)
