"""Makes separately spoken pieces fit together: even silence at the edges, no clicks."""

from __future__ import annotations

import numpy as np

from speech_server.domain import Samples

_FRAME = 0.01  # seconds
_QUIET = 10 ** (-50 / 20)  # of the loudest frame: softer than the end of an "f", louder than a voice's noise floor
_LEAD_FRAMES, _TAIL_FRAMES = 2, 4
_FADE = 0.005  # seconds


def trim(samples: Samples, rate: int) -> Samples:
    """`samples` without the silence at both ends, faded over a few milliseconds; empty when all is silence."""
    frame = int(rate * _FRAME)
    count = -(-len(samples) // frame)
    padded = np.zeros(count * frame, np.float32)
    padded[: len(samples)] = samples
    energy = np.square(padded).reshape(count, frame).mean(axis=1)
    loudest = float(energy.max(initial=0.0))
    if loudest < 1e-8:
        return np.zeros(0, np.float32)
    loud = np.flatnonzero(energy > loudest * _QUIET**2)
    start = max(0, int(loud[0]) - _LEAD_FRAMES) * frame
    stop = min(len(samples), (int(loud[-1]) + 1 + _TAIL_FRAMES) * frame)
    kept = samples[start:stop].copy()
    length = min(int(rate * _FADE), len(kept) // 2)
    ramp = np.linspace(0.0, 1.0, length, dtype=np.float32)
    kept[:length] *= ramp
    kept[len(kept) - length :] *= ramp[::-1]
    return kept


def with_pause(samples: Samples, seconds: float, rate: int) -> Samples:
    return np.concatenate([samples, np.zeros(round(seconds * rate), np.float32)])
