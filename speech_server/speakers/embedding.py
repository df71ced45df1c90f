"""Voices on their way to an encoder: embedded in lots while others are still looked for, all known in the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from speech_server.domain import Embeddings
from speech_server.engines.interfaces import VoiceEncoder, VoiceSample

_LOT = 16  # windows that are looked at together: half a minute of speech, in one phrase of 30 s at most twice that
AHEAD = 4  # lots that wait


class Embedding:
    """Belongs to one recording. `aclose` leaves nothing behind."""

    def __init__(self, encoder: VoiceEncoder) -> None:
        self._encoder = encoder
        self._counts: list[int] = []
        self._embeddings: list[Embeddings] = []
        self._lot: list[VoiceSample] = []
        self._waiting: asyncio.Queue[list[VoiceSample] | None] = asyncio.Queue(AHEAD)
        self._embedding = asyncio.create_task(self._embed())

    async def give(self, sample: VoiceSample) -> None:
        """Waits while too much waits. Raises what the encoder raises."""
        self._counts.append(len(sample.starts))
        self._lot.append(sample)
        if sum(len(sample.starts) for sample in self._lot) >= _LOT:
            await self._pass_on()

    async def all(self) -> list[Embeddings]:
        """Those of the windows of each sample given, in order."""
        import numpy as np

        if self._lot:
            await self._pass_on()
        await hand_over(None, self._waiting, self._embedding)
        await self._embedding
        if not self._counts:
            return []
        return np.split(np.concatenate(self._embeddings), np.cumsum(self._counts)[:-1])

    async def aclose(self) -> None:
        self._embedding.cancel()
        await asyncio.gather(self._embedding, return_exceptions=True)

    async def _pass_on(self) -> None:
        lot, self._lot = self._lot, []
        await hand_over(lot, self._waiting, self._embedding)

    async def _embed(self) -> None:
        async with aclosing(self._encoder.embed(self._lots())) as embedded:
            async for embeddings in embedded:
                self._embeddings.append(embeddings)

    async def _lots(self) -> AsyncIterator[list[VoiceSample]]:
        while (lot := await self._waiting.get()) is not None:
            yield lot


async def hand_over(item: Any, waiting: asyncio.Queue[Any], taker: asyncio.Task[None]) -> None:
    """Into a bounded queue, unless nobody takes from it any more: then what ended its taker is raised."""
    giving = asyncio.ensure_future(waiting.put(item))
    await asyncio.wait({giving, taker}, return_when=asyncio.FIRST_COMPLETED)
    if not giving.done():
        giving.cancel()
        taker.result()
