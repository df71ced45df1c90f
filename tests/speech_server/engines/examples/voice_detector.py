"""The smallest voice detector: what is loud is speech."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speech_server.domain import FRAME, Samples
from speech_server.engines.interfaces import EngineArgs


class Example:
    memory_bytes = 1

    def stream(self) -> Stream:
        return Stream()

    def close(self) -> None:
        """It holds nothing."""


class Stream:
    rest: Samples = np.zeros(0, np.float32)

    def feed(self, samples: Samples) -> NDArray[np.float32]:
        samples = np.concatenate((self.rest, samples))
        whole = len(samples) // FRAME * FRAME
        self.rest = samples[whole:]
        return np.minimum(np.abs(samples[:whole].reshape(-1, FRAME)).max(axis=1, initial=0) * 10, 1).astype(np.float32)


def load(folder: Path, args: EngineArgs) -> Example:
    return Example()
