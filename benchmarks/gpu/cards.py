"""What cards are said to reach, and what is expected of them: data sheets and arithmetic, good to a factor of 2."""

from __future__ import annotations

import re
from dataclasses import dataclass

from benchmarks.gpu.shapes import Shape

_REACHED = 1 / 3  # of the peak: 7 ms for a window of turbo on an H200
_LAUNCH = 4e-6  # seconds
_LAUNCHES = 30  # kernels of a decoder's layer in a step
_RULES = 125e-6  # seconds a row: CTranslate2 asks the card three times whether a time is due (its issue 1783)


@dataclass(frozen=True)
class Card:
    """`teraflops`: tensor cores, float16 summed in float32, dense; `bandwidth`: GB/s. From NVIDIA's data sheets."""

    name: str
    teraflops: float
    bandwidth: float

    def encoding(self, shape: Shape, seconds: float) -> float:
        """Seconds for a window."""
        return shape.encoding(seconds) / (self.teraflops * 1e12 * _REACHED)

    def step(self, shape: Shape, batch: int, beam: int, *, timed: bool = False) -> float:
        """Seconds for a decoding step: the memory's or, for small batches, the launches'; and the rules of times."""
        read = shape.step(batch, beam) / (self.bandwidth * 1e9)
        return max(read, shape.decoder * _LAUNCHES * _LAUNCH) + timed * batch * beam * _RULES


# The longer name before the shorter one that it contains.
_CARDS = (
    Card("B200", 2250, 8000),
    Card("H200", 989, 4800),
    Card("H100 PCIe", 756, 2000),
    Card("H100", 989, 3350),
    Card("A100-SXM4-80GB", 312, 2039),
    Card("A100 80GB", 312, 1935),
    Card("A100", 312, 1555),
    Card("L40S", 362, 864),
    Card("L40", 181, 864),
    Card("L4", 121, 300),
    Card("A40", 150, 696),
    Card("A10", 125, 600),
    Card("A10G", 70, 600),
    Card("T4", 65, 320),
    Card("RTX 6000 Ada", 364, 960),
    Card("RTX A6000", 155, 768),
    Card("RTX 5090", 210, 1792),
    Card("RTX 4090", 165, 1008),
    Card("RTX 3090", 71, 936),
)


def find_card(name: str) -> Card | None:
    """The card that the driver calls `name` ("NVIDIA GeForce RTX 4090"); None for one that is not in the table."""
    if "Laptop" in name:  # the same name for half of the chip
        return None
    return next((card for card in _CARDS if re.search(rf"\b{card.name}\b", name)), None)
