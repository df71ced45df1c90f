"""GE2E on ONNX Runtime: what a second and a half of somebody's voice is like, as a vector of length 1."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Hashable, Sequence
from contextlib import aclosing
from pathlib import Path

import numpy as np

from speech_server.domain import Embeddings, Likeness, Samples
from speech_server.engines.cores import core_count
from speech_server.engines.ge2e.mel import HOP, mel_frames
from speech_server.engines.interfaces import EngineArgs, VoiceSample
from speech_server.engines.onnx import StoppableSession, has_cuda, open_session
from speech_server.engines.queue.batching import Batcher
from speech_server.engines.queue.fair_queue import Work
from speech_server.engines.queue.in_order import in_order
from speech_server.engines.queue.turnstile import CORES
from speech_server.errors import ModelBroken

WINDOW = 160 * HOP  # samples, 1.6 s: what it was trained on
FILE = "ge2e.onnx"
LIKENESS = Likeness(apart=0.26, few_apart=0.24)  # where python -m benchmarks speakers counts best: docs/speakers.md
_LOUDNESS = 10 ** (-30 / 20)  # what is quieter is raised to it, as in training
_AT_ONCE = 32  # windows

Lot = Sequence[VoiceSample]


class Ge2e:
    """One session, called from as many threads as there are cores."""

    window = WINDOW
    likeness = LIKENESS

    def __init__(self, model: Path, args: EngineArgs) -> None:
        cuda = args.device != "cpu" and has_cuda()
        self._session = StoppableSession(open_session(model, args.threads or 1, args.device, args.provider_options))
        self.memory_bytes = 10 * model.stat().st_size
        self._workers = args.workers or (1 if cuda else core_count())
        self.batcher: Batcher[Lot, Embeddings] = Batcher(
            self._step,
            name="ge2e",
            workers=self._workers,
            max_batch=4,
            max_cost=_AT_ONCE,
            max_lanes=int(args.extra.get("max_requests", 128)),
            turnstile=None if cuda else CORES,
        )

    def close(self) -> None:
        self.batcher.close()
        del self._session

    async def embed(self, voices: AsyncIterator[Lot]) -> AsyncGenerator[Embeddings, None]:
        with self.batcher.lane() as lane:
            async with aclosing(in_order(lane, _works(voices), 2 * self._workers)) as results:
                async for embeddings in results:
                    yield embeddings

    def _step(self, batch: list[Work[Lot, Embeddings]]) -> None:
        windows = [np.concatenate([_windows(voice) for voice in work.payload]) for work in batch]
        together = np.concatenate(windows)
        parts = [
            self._session.run(None, {"mels": together[first : first + _AT_ONCE]})[0]
            for first in range(0, len(together), _AT_ONCE)
        ]
        embeddings = np.concatenate(parts)
        ends = np.cumsum([len(own) for own in windows])[:-1]
        for work, own in zip(batch, np.split(embeddings, ends), strict=True):
            work.future.set_result(own)


async def _works(voices: AsyncIterator[Lot]) -> AsyncIterator[tuple[Lot, float, Hashable]]:
    async for lot in voices:
        yield lot, float(sum(len(voice.starts) for voice in lot)), None


def _windows(voice: VoiceSample) -> Samples:
    """(windows, frames, bands)"""
    samples = voice.samples
    level = float(np.sqrt(np.square(samples).mean())) if len(samples) else 0.0
    if 0 < level < _LOUDNESS:
        samples = samples * (_LOUDNESS / level)
    if len(samples) < WINDOW:  # said again and again it is more like the person than followed by silence
        samples = np.resize(samples, WINDOW)
    mel = mel_frames(samples)
    frames = WINDOW // HOP
    return np.stack([mel[start // HOP : start // HOP + frames] for start in voice.starts])


def load(folder: Path, args: EngineArgs) -> Ge2e:
    model = folder / FILE
    if not model.is_file():
        raise ModelBroken(f"no {FILE} in {folder}: pull the voice encoder again")
    return Ge2e(model, args)
