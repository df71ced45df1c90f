"""Which part of a recording is heard, and where long ones are cut: found in the sound, by everybody who has it alike.

A cut is looked for around a nominal place, and what is found depends on the sound within that reach alone. So those
who transcribe neighbouring parts agree without knowing of each other: no word is heard twice, none is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from speech_server.domain import FRAME, RATE, REACH, SECTION, Clip, Samples

_FLOOR = 1e-7  # of power: -70 dB, below which all is silence
_DROP = 1e-3  # of the loudest tenth's power: -30 dB, below which it is a pause
_PAUSE = 6  # frames, 0.2 s: a shorter one is no better than any other quiet place
_BLUR = np.ones(9) / 9  # a cut wants 0.3 s of quiet, not one quiet frame


@dataclass(frozen=True, slots=True)
class Cut:
    """Here, at this sample of the recording, a section begins that is heard for itself."""

    position: int


class Clipper:
    """Samples from `position` on (of the recording) -> those of the clip, with a Cut before each of its sections, which
    are SECTION seconds long, or `section`.

    Holds back two reaches of sound at most. `is_done` once nothing that follows belongs to the clip.
    """

    def __init__(self, clip: Clip, position: int = 0, section: float | None = None) -> None:
        self._held = np.empty(0, np.float32)
        self._position = position  # of the first sample held
        self._borders = _borders(clip, section or SECTION)
        self._border = next(self._borders)
        self._inside = self.is_done = False
        self.length = 0  # samples given out

    def feed(self, samples: Samples) -> Iterator[Samples | Cut]:
        if self.is_done:
            return
        self._held = np.concatenate((self._held, samples)) if len(self._held) else samples
        while not self.is_done and self._end >= self._border.last:
            yield from self._cut()
        if not self.is_done:
            yield from self._give(min(self._border.first, self._end))

    def finish(self) -> Iterator[Samples | Cut]:
        """A recording that ends within reach of a cut is not cut there."""
        if not self.is_done:
            yield from self._give(self._end)
        self.is_done = True

    @property
    def _end(self) -> int:
        return self._position + len(self._held)

    def _cut(self) -> Iterator[Samples | Cut]:
        border = self._border
        yield from self._give(border.first)
        around = self._held[: border.last - self._position]
        cut = self._position + (quietest(around) if border.last > border.first else 0)
        yield from self._give(cut)
        self._inside = not border.is_end
        self.is_done = border.is_end
        if not self.is_done:
            yield Cut(cut)
            self._border = next(self._borders)

    def _give(self, until: int) -> Iterator[Samples]:
        count = until - self._position
        if count <= 0:
            return
        if self._inside:
            self.length += count
            yield self._held[:count]
        self._held = self._held[count:]
        self._position = until


@dataclass(frozen=True, slots=True)
class _Border:
    """A cut from sample `first` to sample `last`."""

    first: int
    last: int
    is_end: bool = False


def _borders(clip: Clip, length: float) -> Iterator[_Border]:
    """The beginning, each multiple of the sections' length in between, the end."""

    def at(seconds: float, zone: float, *, is_end: bool = False) -> _Border:
        if seconds <= clip.offset:  # nothing to look for: the sound begins here
            zone, seconds = 0.0, clip.offset
        first = max(round((seconds - zone) * RATE), round(clip.offset * RATE))
        return _Border(first, max(round((seconds + zone) * RATE), first), is_end)

    yield at(clip.start, clip.zone)
    section = int(clip.start // length) + 1
    # A cut of the clip's own and one of the recording's may not meet.
    while clip.end is None or section * length + REACH <= clip.end - clip.zone:
        if section * length - REACH >= clip.start + clip.zone:
            yield at(section * length, REACH)
        section += 1
    yield at(clip.end, clip.zone, is_end=True)


def quietest(samples: Samples) -> int:
    """Where to cut: in the middle of the longest pause, else in the quietest third of a second. A sample's index."""
    if len(samples) < 2 * FRAME:
        return len(samples) // 2
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
    power = np.square(frames, dtype=np.float64).mean(axis=1)
    quiet = power <= max(_FLOOR, float(np.quantile(power, 0.9)) * _DROP)
    first, length = max(runs(quiet), key=lambda run: run[1], default=(0, 0))
    if length < _PAUSE:
        padded = np.pad(power, len(_BLUR) // 2, mode="edge")
        return int(np.convolve(padded, _BLUR, "valid").argmin()) * FRAME + FRAME // 2
    return first * FRAME + length * FRAME // 2


def runs(marked: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """(first, length) of each run of True."""
    position = 0
    for is_marked, run in groupby(marked):
        length = sum(1 for _ in run)
        if is_marked:
            yield position, length
        position += length


def clipped(blocks: Iterable[Samples], clipper: Clipper) -> Iterator[Samples | Cut]:
    """The clip's own samples, and the cuts. Empty blocks stay: whoever shares threads may let others go first then."""
    for block in blocks:
        if not len(block):
            yield block
            continue
        yield from clipper.feed(block)
        if clipper.is_done:
            return
    yield from clipper.finish()
