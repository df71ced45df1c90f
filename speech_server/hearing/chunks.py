"""A recording, as it comes -> chunks of at most 30 s for Whisper, cut where it is quiet, silence left out."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from math import ceil

import numpy as np
from numpy.typing import NDArray

from speech_server.domain import FRAME, RATE, Samples, SpeechChunk, SpeechSpan, VadOptions
from speech_server.hearing.spans import SpanFinder, VoiceStream

LIMIT = 30 * RATE
_FIRST = 11 * RATE  # the first chunk of a long recording: its words come early
_REACH = 6 * RATE  # how far from the best length a quiet place may be
_JOIN = RATE // 5  # a shorter gap between spans is not worth a seam
_BLUR = np.ones(9, np.float32) / 9  # a cut wants 0.3 s of quiet, not one quiet frame
_SILENCE = 1e-3  # a peak below -60 dB is no speech, whatever the model would make of it


class Chunker:
    """Feed blocks, then `finish`; keeps no more than about two chunks and a block in memory.

    Without a voice stream all audio is speech, and levels stand in for probabilities where a cut has to be chosen.
    """

    def __init__(
        self, voice: VoiceStream | None, vad: VadOptions | None, begin: int = 0, *, early: bool = False
    ) -> None:
        """`begin`: the sample of the recording at which the first block begins. `early`: somebody waits for the first
        words, also of a recording of less than a minute."""
        self._voice, self._finder, self._begin = voice, None, begin
        self._early = early
        if voice is not None and vad is not None:
            self._finder = SpanFinder(replace(vad, max_speech_duration_s=min(vad.max_speech_duration_s, 30.0)))
        self._samples = np.empty(0, np.float32)
        self._quiet = np.empty(0, np.float32)  # per frame: how little one wants to cut there
        self._base = 0  # sample at which both start; a multiple of FRAME
        self._spans: deque[SpeechSpan] = deque()
        self.length = 0  # samples fed
        self._next = _FIRST  # longest chunk to take while there is plenty

    def feed(self, samples: Samples) -> Iterator[SpeechChunk]:
        self._samples = np.concatenate((self._samples, samples))
        first, self.length = self.length, self.length + len(samples)
        if self._voice is None or self._finder is None:
            self._add([SpeechSpan(first, self.length)])
            self._quiet = _levels(self._samples)
        else:
            probabilities = self._voice.feed(samples)
            self._quiet = np.concatenate((self._quiet, probabilities))
            self._add(self._finder.feed(probabilities))
        while self._waiting() >= 2 * LIMIT:
            yield from self._take_next()
        self._drop()

    def finish(self) -> Iterator[SpeechChunk]:
        if self._voice is not None and self._finder is not None:
            rest = self._voice.feed(np.zeros(FRAME - self.length % FRAME, np.float32))
            self._quiet = np.concatenate((self._quiet, rest))
            self._add(self._finder.feed(rest))
            self._add(self._finder.finish(self.length))
        if self._early and self._next == _FIRST and self._waiting() > 2 * _FIRST:
            yield from self._take_next()
        while total := self._waiting():
            count = ceil(total / LIMIT)
            even = total // count  # chunks of one length keep all workers busy to the end
            low, high = max(total - (count - 1) * LIMIT, even - _REACH), min(LIMIT, even + _REACH)
            yield from self._take(total if count == 1 else self._best_cut(low, high, even))

    def _take_next(self) -> Iterator[SpeechChunk]:
        length, self._next = self._next, LIMIT
        return self._take(self._best_cut(length - _REACH, length, length))

    def _waiting(self) -> int:
        return sum(span.end - span.start for span in self._spans)

    def _add(self, spans: Iterable[SpeechSpan]) -> None:
        for span in spans:
            if self._spans and span.start - self._spans[-1].end < _JOIN:
                span = SpeechSpan(self._spans.pop().start, span.end)
            self._spans.append(span)

    def _best_cut(self, low: int, high: int, wish: int) -> int:
        """Samples of speech to take, from `low` to `high`: at a gap, else where it is quietest, close to `wish`."""
        quiet = np.convolve(self._quiet, _BLUR, "same") if len(self._quiet) >= len(_BLUR) else self._quiet
        best, best_cost, taken = high, np.inf, 0
        for span in self._spans:
            for position in range(span.start + FRAME - span.start % FRAME, span.end, FRAME):
                count = taken + position - span.start
                frame = (position - self._base) // FRAME
                if low <= count <= high and frame < len(quiet):
                    cost = float(quiet[frame]) + 0.1 * abs(count - wish) / _REACH
                    if cost < best_cost:
                        best, best_cost = count, cost
            taken += span.end - span.start
            if low <= taken <= high and abs(taken - wish) / _REACH - 1 < best_cost:
                best, best_cost = taken, abs(taken - wish) / _REACH - 1
        return best

    def _take(self, count: int) -> Iterator[SpeechChunk]:
        """The next `count` samples of speech as one chunk."""
        parts: list[Samples] = []
        spans: list[tuple[int, float]] = []
        taken = 0
        while taken < count:
            span = self._spans.popleft()
            end = min(span.end, span.start + count - taken)
            if end < span.end:
                self._spans.appendleft(SpeechSpan(end, span.end))
            spans.append((taken, (self._begin + span.start) / RATE))
            parts.append(self._samples[span.start - self._base : end - self._base])
            taken += end - span.start
        samples = np.concatenate(parts)
        if self._voice is not None or np.abs(samples).max() >= _SILENCE:
            yield SpeechChunk(samples, spans[0][1], tuple(spans) if self._voice is not None else ())

    def _drop(self) -> None:
        keep = self.length if self._finder is None else self._finder.keep_from
        keep = min(keep, self._spans[0].start) if self._spans else keep
        frames = (keep - self._base) // FRAME
        if frames > 0:
            self._samples = self._samples[frames * FRAME :].copy()
            self._quiet = self._quiet[frames:].copy()
            self._base += frames * FRAME


def _levels(samples: Samples) -> NDArray[np.float32]:
    """Loudness per frame, from 0 for the quietest to 1 for the loudest, on a scale of decibels."""
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
    power = np.log10(np.square(frames).mean(axis=1) + 1e-10)
    low, high = (power.min(), power.max()) if len(power) else (0.0, 1.0)
    levels: NDArray[np.float32] = (power - low) / max(high - low, 1e-6)
    return levels
