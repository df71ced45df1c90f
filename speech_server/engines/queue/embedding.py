"""What encoders of voices share: the windows of many requests, looked at together, each request's in order."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Hashable, Sequence
from contextlib import aclosing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speech_server.domain import Embeddings
from speech_server.engines.cores import core_count
from speech_server.engines.interfaces import EngineArgs, VoiceSample
from speech_server.engines.onnx import StoppableSession, has_cuda, open_session, require_names
from speech_server.engines.queue.batching import Batcher
from speech_server.engines.queue.fair_queue import Work
from speech_server.engines.queue.in_order import in_order
from speech_server.engines.queue.turnstile import CORES

_AT_ONCE = 32  # windows

Lot = Sequence[VoiceSample]
Features = NDArray[np.float32]  # (windows, frames, bands)


class BatchedEncoder(ABC):
    """One session, called from as many threads as there are cores. `names`: what its network takes and gives."""

    def __init__(self, model: Path, args: EngineArgs, *, name: str, names: tuple[str, str] | None = None) -> None:
        cuda = args.device != "cpu" and has_cuda()
        self._session = StoppableSession(open_session(model, args.threads or 1, args.device, args.provider_options))
        if names:  # before the threads start, which nobody would close
            require_names(self._session, model, *names)
        self.memory_bytes = 10 * model.stat().st_size
        self._workers = args.workers or (1 if cuda else core_count())
        self.batcher: Batcher[Lot, Embeddings] = Batcher(
            self._step,
            name=name,
            workers=self._workers,
            max_batch=4,
            max_cost=_AT_ONCE,
            max_lanes=int(args.extra.get("max_requests", 128)),
            turnstile=None if cuda else CORES,
        )

    @abstractmethod
    def features(self, voice: VoiceSample) -> Features:
        """What the network sees of each window."""

    @abstractmethod
    def run(self, session: StoppableSession, features: Features) -> Embeddings: ...

    def close(self) -> None:
        self.batcher.close()
        del self._session

    async def embed(self, voices: AsyncIterator[Lot]) -> AsyncGenerator[Embeddings, None]:
        with self.batcher.lane() as lane:
            async with aclosing(in_order(lane, _works(voices), 2 * self._workers)) as results:
                async for embeddings in results:
                    yield embeddings

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
