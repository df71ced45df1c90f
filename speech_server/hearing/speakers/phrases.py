"""Speech, as it is heard -> phrases without a pause in them, cut as an encoder looks at them.

Silero's idea of speech goes on for a tenth of a second after it has ended, and two people may need less than that to
take turns. So inside its spans the level decides: where it falls far below that of the speech around, somebody may
have stopped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speech_server.domain import FRAME, RATE, Samples, VadOptions
from speech_server.hearing.clip import runs
from speech_server.hearing.spans import SpanFinder

_SPEECH = VadOptions(threshold=0.35, min_silence_duration_ms=100, max_speech_duration_s=30.0, speech_pad_ms=50)
_HOP = RATE // 100  # samples per level
_DROP = 38.0  # dB below a phrase's loud parts is a pause in it
_OVER_NOISE = 3.0  # dB above what is heard between spans is still no speech
_CLEAR = 6.0  # dB below the loud parts at least, whatever the noise
_PAUSE = 8  # levels, 80 ms
_SHORTEST = 6
_NOISE = 3000  # levels, half a minute, from which the noise is known
_SILENCE = -90.0  # dB
_BLUR = np.ones(3) / 3

Levels = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Phrase:
    """In samples of the recording, and where it is cut for an encoder, from its beginning to its end."""

    start: int
    end: int
    cuts: tuple[int, ...]


class PhraseFinder:
    """Feed blocks with their voice probabilities; `begin` is the sample at which the first one begins.

    Holds back the sound of one span. `window`: samples the encoder looks at, at most.
    """

    def __init__(self, window: int, begin: int = 0) -> None:
        self._window = window
        self._begin = begin
        self._finder = SpanFinder(_SPEECH)
        self._samples = np.empty(0, np.float32)
        self._base = 0  # sample at which they start, counted from `begin`; a multiple of FRAME
        self._length = 0
        self._heard = 0  # samples whose level is known to be noise, or that lie in a span
        self._noise: deque[float] = deque(maxlen=_NOISE)

    def feed(self, samples: Samples, probabilities: NDArray[np.float32]) -> Iterator[tuple[Phrase, Samples]]:
        self._samples = np.concatenate((self._samples, samples))
        self._length += len(samples)
        for span in self._finder.feed(probabilities):
            yield from self._split(span.start, span.end)
        self._drop(min(self._finder.keep_from, self._length))

    def finish(self) -> Iterator[tuple[Phrase, Samples]]:
        for span in self._finder.finish(self._length):
            yield from self._split(span.start, span.end)

    def _split(self, start: int, end: int) -> Iterator[tuple[Phrase, Samples]]:
        self._listen_until(start)
        self._heard = end
        sound = self._samples[start - self._base : end - self._base]
        for first, last in _loud(_levels(sound), self._noise_level()):
            part = sound[first * _HOP : last * _HOP]
            position = self._begin + start + first * _HOP
            yield Phrase(position, position + len(part), cuts_in(len(part), self._window)), part

    def _listen_until(self, position: int) -> None:
        """What lies between spans is noise."""
        between = self._samples[max(self._heard - self._base, 0) : max(position - self._base, 0)]
        self._noise.extend(_levels(between))
        self._heard = max(self._heard, position)

    def _noise_level(self) -> float:
        return float(np.quantile(self._noise, 0.8)) if len(self._noise) > 2 * _PAUSE else _SILENCE

    def _drop(self, position: int) -> None:
        count = (position - self._base) // FRAME * FRAME
        if count > 0:
            self._listen_until(self._base + count)
            self._samples = self._samples[count:].copy()
            self._base += count


def _levels(samples: Samples) -> Levels:
    """dB, one for each hundredth of a second."""
    count = len(samples) // _HOP
    if not count:
        return np.empty(0)
    power = np.square(samples[: count * _HOP].reshape(count, _HOP), dtype=np.float64).mean(axis=1)
    return 10 * np.log10(np.convolve(power, _BLUR, "same")[:count] + 1e-10)


def _loud(levels: Levels, noise: float) -> list[tuple[int, int]]:
    """Where it is loud enough, (first, after the last), with shorter pauses left in."""
    if len(levels) < _SHORTEST:
        return []
    loud = float(np.quantile(levels, 0.9))
    is_loud = levels > min(max(loud - _DROP, noise + _OVER_NOISE), loud - _CLEAR)
    joined: list[tuple[int, int]] = []
    for first, length in runs(is_loud):
        is_near = joined and first - joined[-1][1] < _PAUSE
        joined.append((joined.pop()[0] if is_near else first, first + length))
    return [(first, last) for first, last in joined if last - first >= _SHORTEST]


def cuts_in(length: int, window: int) -> tuple[int, ...]:
    """The edges of as few equal parts as have at most a `window` each."""
    count = -(-length // window)
    return tuple(length * at // count for at in range(count + 1))
