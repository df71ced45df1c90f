"""The input audio buffer: the last stretch of a stream of samples, addressed by absolute position."""

from __future__ import annotations

from collections import deque

import numpy as np

from speech_server.domain import Samples


class AudioBuffer:
    """Holds samples `start`..`end` of the stream; appending and dropping cost the same at any length."""

    def __init__(self) -> None:
        self._blocks: deque[Samples] = deque()
        self.start = 0
        self.end = 0

    def append(self, samples: Samples) -> None:
        if len(samples):
            self._blocks.append(samples)
            self.end += len(samples)

    def cut(self, start: int, end: int) -> Samples:
        """A copy of what the buffer still has of samples `start`..`end`."""
        if not self._blocks:
            return np.zeros(0, np.float32)
        whole = np.concatenate(self._blocks)
        return whole[max(0, start - self.start) : max(0, end - self.start)].copy()

    def drop_before(self, position: int) -> None:
        while self._blocks and self.start + len(self._blocks[0]) <= position:
            self.start += len(self._blocks.popleft())
