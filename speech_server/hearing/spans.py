"""Voice probabilities, as they come, -> spans of speech: Silero's rules, without needing the whole recording."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Protocol

from speech_server.domain import FRAME, RATE, Samples, SpeechSpan, VadOptions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_PAUSE = RATE * 98 / 1000  # a silence worth cutting at, when a span must be cut


class VoiceStream(Protocol):
    """Voice probabilities for one stream of audio; keeps the network's state between calls."""

    def feed(self, samples: Samples) -> NDArray[np.float32]:
        """Probabilities (n,) for each whole frame of 512 samples so far unread; the rest waits. Blocking, short."""
        ...


class SpanFinder:
    """Gives the spans of faster_whisper's `get_speech_timestamps`, each as soon as nothing can change it any more.

    Feed every frame's probability in order, then `finish` with the recording's length in samples.
    """

    def __init__(self, options: VadOptions) -> None:
        self._enter = options.threshold
        negative = options.neg_threshold
        self._leave = max(options.threshold - 0.15, 0.01) if negative is None else negative
        self._pad = RATE * options.speech_pad_ms / 1000
        self._min_speech = RATE * options.min_speech_duration_ms / 1000
        self._max_speech = RATE * options.max_speech_duration_s - FRAME - 2 * self._pad
        self._min_silence = RATE * options.min_silence_duration_ms / 1000
        self._position = 0  # sample at which the next frame starts
        self._start: int | None = None  # of the speech going on
        self._quiet_since = 0  # its possible end; 0: none
        self._cut, self._resume = 0, 0  # where it may be cut, and where it goes on after that
        self._pending: tuple[int, int] | None = None  # the last speech: padded start, bare end

    @property
    def keep_from(self) -> int:
        """No span still to come starts before this sample."""
        if self._pending is not None:
            return self._pending[0]
        start = self._position if self._start is None else self._start
        return max(0, int(start - self._pad))

    def feed(self, probabilities: Iterable[float]) -> Iterator[SpeechSpan]:
        for probability in probabilities:
            for speech in self._step(float(probability)):
                yield from self._add(*speech)
            self._position += FRAME
            if self._pending and self._start is None and self._position - self._pending[1] > 2 * self._pad + FRAME:
                yield self._release(self._position)

    def finish(self, length: int) -> Iterator[SpeechSpan]:
        if self._start is not None and length - self._start > self._min_speech:
            yield from self._add(self._start, length)
        self._start = None
        if self._pending:
            yield self._release(length)

    def _step(self, probability: float) -> Iterator[tuple[int, int]]:
        """One frame; gives the speech that ended with it, (start, end)."""
        now = self._position
        if probability >= self._enter and self._quiet_since:
            self._quiet_since = 0
            if self._resume < self._cut:
                self._resume = now
        if self._start is None:
            if probability >= self._enter:
                self._start = now
            return
        if now - self._start > self._max_speech:
            yield self._cut_long(now)
        if self._start is not None and probability < self._leave:
            yield from self._hear_silence(now)

    def _cut_long(self, now: int) -> tuple[int, int]:
        assert self._start is not None
        ended = (self._start, self._cut or now)
        self._start = self._resume if self._cut and self._resume >= self._cut else None
        self._forget_silence()
        return ended

    def _hear_silence(self, now: int) -> Iterator[tuple[int, int]]:
        assert self._start is not None
        self._quiet_since = self._quiet_since or now
        if now - self._quiet_since > _PAUSE:
            self._cut = self._quiet_since
        if now - self._quiet_since < self._min_silence:
            return
        if self._quiet_since - self._start > self._min_speech:
            yield self._start, self._quiet_since
        self._start = None
        self._forget_silence()

    def _forget_silence(self) -> None:
        self._quiet_since = self._cut = self._resume = 0

    def _add(self, start: int, end: int) -> Iterator[SpeechSpan]:
        """Pad the speech before, now that the one after it is known; neighbours share a short silence."""
        if self._pending is None:
            self._pending = (int(max(0, start - self._pad)), end)
            return
        first, last = self._pending
        silence = start - last
        if silence < 2 * self._pad:
            yield SpeechSpan(first, last + silence // 2)
            start = max(0, start - silence // 2)
        else:
            yield SpeechSpan(first, int(last + self._pad))
            start = int(max(0, start - self._pad))
        self._pending = (start, end)

    def _release(self, length: int) -> SpeechSpan:
        assert self._pending is not None
        start, end = self._pending
        self._pending = None
        return SpeechSpan(start, int(min(length, end + self._pad)))
