"""Silero VAD v6 on ONNX Runtime: how likely each 32 ms of audio is speech."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from speech_server.domain import FRAME, Samples
from speech_server.engines.interfaces import EngineArgs
from speech_server.engines.onnx import StoppableSession, open_session, placement_of
from speech_server.engines.silero.network import STATE, rewrite, spectra
from speech_server.errors import ModelBroken

Frames: TypeAlias = NDArray[np.float32]  # (n, CONTEXT + FRAME)

CONTEXT = 64  # samples of the frame before that the network sees again
_STATE = (1, 1, STATE)
_BATCH = 256  # frames per call: what lies between two steps of the network stays in a core's cache


class Detector:
    """One session, one thread: the network is too small for more, and is called from many threads at once."""

    def __init__(self, model: Path) -> None:
        rewritten = rewrite(model.read_bytes())
        self._session = StoppableSession(open_session(rewritten or model, 1))
        self._prepare = spectra if rewritten else _as_they_are
        self.memory_bytes = 4 * model.stat().st_size
        self.placement = placement_of(self._session, workers=1, threads=1)

    def stream(self) -> ProbabilityStream:
        return ProbabilityStream(self._session, self._prepare)

    def close(self) -> None:
        del self._session


class ProbabilityStream:
    """The probabilities of one recording; state and context are kept between calls, so each frame costs the same."""

    def __init__(self, session: StoppableSession, prepare: Callable[[Frames], NDArray[np.float32]]) -> None:
        self._session = session
        self._prepare = prepare
        self._h = np.zeros(_STATE, np.float32)
        self._c = np.zeros(_STATE, np.float32)
        self._context = np.zeros(CONTEXT, np.float32)
        self._rest = np.empty(0, np.float32)

    def feed(self, samples: Samples) -> NDArray[np.float32]:
        samples = np.concatenate((self._rest, samples)) if len(self._rest) else samples
        count = len(samples) // FRAME
        self._rest = samples[count * FRAME :].copy()
        outputs = [
            self._run(samples[first * FRAME : min(first + _BATCH, count) * FRAME]) for first in range(0, count, _BATCH)
        ]
        return np.concatenate(outputs) if outputs else np.empty(0, np.float32)

    def _run(self, samples: Samples) -> NDArray[np.float32]:
        frames = samples.reshape(-1, FRAME)
        tails = np.vstack((self._context, frames[:-1, -CONTEXT:]))
        self._context = frames[-1, -CONTEXT:].copy()
        inputs = {"input": self._prepare(np.hstack((tails, frames))), "h": self._h, "c": self._c}
        output, self._h, self._c = self._session.run(None, inputs)
        probabilities: NDArray[np.float32] = output.reshape(-1)
        return probabilities


def _as_they_are(frames: Frames) -> NDArray[np.float32]:
    return frames


def load(folder: Path, args: EngineArgs) -> Detector:
    models = sorted(folder.glob("*.onnx"))
    if not models:
        raise ModelBroken(f"no *.onnx file in {folder}: pull the voice detector again")
    return Detector(models[-1])
