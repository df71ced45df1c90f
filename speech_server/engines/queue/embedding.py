"""What encoders of voices share: the sounds of many requests, looked at together, each request's in order."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Hashable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speech_server.domain import Embeddings, Samples
from speech_server.engines.interfaces import EngineArgs
from speech_server.engines.onnx import StoppableSession
from speech_server.engines.queue.fair_queue import Work
from speech_server.engines.queue.session import QueuedSession

_AT_ONCE = 32  # sounds

Lot = Sequence[Samples]
Features = NDArray[np.float32]  # (frames, bands)


class BatchedEncoder(QueuedSession[Lot, Embeddings]):
    def __init__(self, model: Path, args: EngineArgs, *, name: str, names: tuple[str, str] | None = None) -> None:
        super().__init__(model, args, name=name, max_batch=4, max_cost=_AT_ONCE, names=names)

    @abstractmethod
    def features(self, samples: Samples) -> Features:
        """What the network sees of a sound."""

    @abstractmethod
    def run(self, session: StoppableSession, features: NDArray[np.float32]) -> Embeddings:
        """(sounds, frames, bands) -> (sounds, size), each of length 1."""

    def embed(self, voices: AsyncIterator[Lot]) -> AsyncGenerator[Embeddings, None]:
        return self._results(_works(voices))

    def _step(self, batch: list[Work[Lot, Embeddings]]) -> None:
        embeddings = self._embeddings([self.features(sound) for work in batch for sound in work.payload])
        ends = np.cumsum([len(work.payload) for work in batch])[:-1]
        for work, own in zip(batch, np.split(embeddings, ends), strict=True):
            work.future.set_result(own)

    def _embeddings(self, sounds: list[Features]) -> Embeddings:
        """Those of equal length are looked at together."""
        lengths = np.array([len(sound) for sound in sounds])
        order, parts = np.argsort(lengths, kind="stable"), []
        for alike in np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1):
            together = np.stack([sounds[number] for number in alike])
            parts += [self.run(self._session, together[at : at + _AT_ONCE]) for at in range(0, len(together), _AT_ONCE)]
        embeddings: Embeddings = np.concatenate(parts)[np.argsort(order)]
        return embeddings


async def _works(voices: AsyncIterator[Lot]) -> AsyncIterator[tuple[Lot, float, Hashable]]:
    async for lot in voices:
        yield lot, float(len(lot)), None
