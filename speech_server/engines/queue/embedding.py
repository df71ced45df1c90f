"""What encoders of voices share: the windows of many requests, looked at together, each request's in order."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Hashable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speech_server.domain import Embeddings
from speech_server.engines.interfaces import EngineArgs, VoiceSample
from speech_server.engines.onnx import StoppableSession
from speech_server.engines.queue.fair_queue import Work
from speech_server.engines.queue.session import QueuedSession

_AT_ONCE = 32  # windows

Lot = Sequence[VoiceSample]
Features = NDArray[np.float32]  # (windows, frames, bands)


class BatchedEncoder(QueuedSession[Lot, Embeddings]):
    def __init__(self, model: Path, args: EngineArgs, *, name: str, names: tuple[str, str] | None = None) -> None:
        super().__init__(model, args, name=name, max_batch=4, max_cost=_AT_ONCE, names=names)

    @abstractmethod
    def features(self, voice: VoiceSample) -> Features:
        """What the network sees of each window."""

    @abstractmethod
    def run(self, session: StoppableSession, features: Features) -> Embeddings: ...

    def embed(self, voices: AsyncIterator[Lot]) -> AsyncGenerator[Embeddings, None]:
        return self._results(_works(voices))

    def _step(self, batch: list[Work[Lot, Embeddings]]) -> None:
        windows = [np.concatenate([self.features(voice) for voice in work.payload]) for work in batch]
        together = np.concatenate(windows)
        parts = [
            self.run(self._session, together[first : first + _AT_ONCE]) for first in range(0, len(together), _AT_ONCE)
        ]
        embeddings = np.concatenate(parts)
        ends = np.cumsum([len(own) for own in windows])[:-1]
        for work, own in zip(batch, np.split(embeddings, ends), strict=True):
            work.future.set_result(own)


async def _works(voices: AsyncIterator[Lot]) -> AsyncIterator[tuple[Lot, float, Hashable]]:
    async for lot in voices:
        yield lot, float(sum(len(voice.starts) for voice in lot)), None
