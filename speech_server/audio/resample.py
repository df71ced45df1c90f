"""One stream of mono samples from one rate to another, block by block, without seams."""

from __future__ import annotations

import numpy as np
import soxr

from speech_server.domain import Samples


class Resampler:
    """Anti-aliased (soxr, high quality). Feed blocks in order, then `finish` for what is still inside."""

    def __init__(self, source_rate: int, rate: int) -> None:
        self._stream = None if source_rate == rate else soxr.ResampleStream(source_rate, rate, 1, dtype="float32")

    def feed(self, samples: Samples) -> Samples:
        if self._stream is None:
            return samples
        converted: Samples = self._stream.resample_chunk(np.ascontiguousarray(samples, dtype=np.float32))
        return converted

    def finish(self) -> Samples:
        if self._stream is None:
            return np.empty(0, np.float32)
        converted: Samples = self._stream.resample_chunk(np.empty(0, np.float32), last=True)
        return converted
