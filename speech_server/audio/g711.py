"""G.711, the telephone's 8-bit logarithmic audio (ITU-T G.711): u-law and A-law to and from samples."""

from __future__ import annotations

from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from speech_server.domain import Samples

Law = Literal["audio/pcmu", "audio/pcma"]
_ULAW_BIAS = 132


def decode(data: bytes, law: Law) -> Samples:
    samples: Samples = _values(law)[np.frombuffer(data, np.uint8)] / np.float32(32768)
    return samples


def encode(samples: NDArray[np.int16], law: Law) -> bytes:
    """16-bit samples to one byte each."""
    return _codes(law)[samples.view(np.uint16)].tobytes()


@cache
def _values(law: Law) -> NDArray[np.float32]:
    """What each of the 256 codes stands for, in 16-bit units."""
    codes = np.arange(256, dtype=np.uint8)
    is_ulaw = law == "audio/pcmu"
    bits = ~codes if is_ulaw else codes ^ np.uint8(0x55)
    exponent, mantissa = (bits >> 4 & 7).astype(int), (bits & 15).astype(int)
    if is_ulaw:
        size = ((mantissa << 3) + _ULAW_BIAS << exponent) - _ULAW_BIAS
    else:
        size = np.where(exponent == 0, (mantissa << 4) + 8, (mantissa << 4) + 264 << np.maximum(exponent - 1, 0))
    negative = (bits >= 128) == is_ulaw
    values: NDArray[np.float32] = np.where(negative, -size, size).astype(np.float32)
    return values


@cache
def _codes(law: Law) -> NDArray[np.uint8]:
    """The code nearest to each of the 65,536 sample values, indexed by the sample's bits."""
    values = _values(law)
    order = np.argsort(values, kind="stable")
    borders = (values[order][1:] + values[order][:-1]) / 2
    samples = np.arange(65_536, dtype=np.uint16).view(np.int16)
    codes: NDArray[np.uint8] = order[np.searchsorted(borders, samples)].astype(np.uint8)
    return codes
