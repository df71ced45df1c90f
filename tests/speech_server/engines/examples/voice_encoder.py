"""The smallest voice encoder: a voice is its spectrum."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from pathlib import Path

import numpy as np

from speech_server.domain import RATE, Embeddings, Likeness, Samples
from speech_server.engines.interfaces import EngineArgs
from speech_server.engines.queue.engine import QueuedEngine
from speech_server.engines.queue.fair_queue import Work


class Example(QueuedEngine[Sequence[Samples], Embeddings]):
    window = RATE
    likeness = Likeness(apart=0.5, few_apart=0.4)
    memory_bytes = 1

    def embed(self, voices: AsyncIterator[Sequence[Samples]]) -> AsyncGenerator[Embeddings, None]:
        return self._results((lot, float(len(lot)), None) async for lot in voices)

    def _step(self, batch: list[Work[Sequence[Samples], Embeddings]]) -> None:
        for work in batch:
            sounds = [np.resize(sound, RATE) for sound in work.payload]
            spectra = np.abs(np.fft.rfft(np.stack(sounds))) + 1e-6
            work.future.set_result((spectra / np.linalg.norm(spectra, axis=1, keepdims=True)).astype(np.float32))


def load(folder: Path, args: EngineArgs) -> Example:
    return Example("example", args, max_batch=4)
