"""One chunk on its way through Whisper, and what the chunks of one transcription share."""

from __future__ import annotations

import re
import threading
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from speech_server.domain import RATE, ChunkTranscript, Samples, Segment, SpeechChunk
from speech_server.engines.interfaces import TranscribeOptions

if TYPE_CHECKING:
    from ctranslate2 import StorageView
    from faster_whisper.tokenizer import Tokenizer

FULL_WINDOW = 30 * RATE
# Few sizes, so that jobs find company: only jobs of one window size can be decoded together.
_WINDOWS = tuple(seconds * RATE for seconds in (15, 20))
_LOOP = 2.4  # compression ratio; a loop of the decoder compresses better than speech
_WORD = re.compile(r"\w+")
_PROMPT_COST = 0.1  # seconds a token: the longest one costs 0.15 s of a core here, as much as decoding 10 s of speech
_MARGIN = 3 * RATE  # a window much fuller than this loses words at its end


@dataclass(slots=True)
class Attempt:
    """One decoding of one window."""

    tokens: list[int]
    text: str
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float


@dataclass(slots=True)
class Request:
    """`tokenizer` is set once the language is known; until then all chunks but the first are set aside."""

    options: TranscribeOptions
    short_windows: bool
    prompt_length: int
    only_language: bool = False
    tokenizer: Tokenizer | None = None
    language: str = ""
    language_probability: float = 1.0
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(slots=True)
class Job:
    """`start` is where the part being decoded begins, in samples of the chunk: Whisper may need several goes."""

    request: Request
    chunk: SpeechChunk
    first: bool
    window: int
    start: int = 0
    encoded: StorageView | None = None
    temperature: int = 0  # index into the options' ladder
    attempts: list[Attempt] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)

    @classmethod
    def of(cls, request: Request, chunk: SpeechChunk, first: bool) -> Job:
        return cls(request, chunk, first, choose_window(len(chunk.samples), request.short_windows))

    @property
    def part(self) -> Samples:
        return self.chunk.samples[self.start : self.start + self.window]

    @property
    def cost(self) -> float:
        """Seconds of audio, and what a prompt adds to the step of all that share it: it gains little from company."""
        return len(self.chunk.samples) / RATE + _PROMPT_COST * self.request.prompt_length

    @property
    def kind(self) -> Hashable:
        """Jobs of one kind can be decoded in one call."""
        options = self.request.options
        temperature = options.temperatures[self.temperature]
        return self.window, temperature, options.beam_size, self.request.prompt_length, options.without_timestamps

    def add(self, attempt: Attempt) -> None:
        """In place of the last at this temperature, where what came after it failed and is done again."""
        self.attempts = [other for other in self.attempts if other.temperature != attempt.temperature] + [attempt]

    def widen(self) -> None:
        """Decode the same part again in a full window, as the model was trained."""
        self.window = FULL_WINDOW
        self.encoded = None
        self.attempts.clear()

    def advance(self, samples: int) -> None:
        """Go on with the part of the chunk that starts `samples` later."""
        self.start += samples
        self.window = choose_window(len(self.chunk.samples) - self.start, self.request.short_windows)
        self.encoded = None
        self.temperature = 0
        self.attempts.clear()

    def transcript(self) -> ChunkTranscript:
        return ChunkTranscript(tuple(self.segments), self.request.language, self.request.language_probability)


def choose_window(samples: int, short_windows: bool) -> int:
    return next((size for size in window_sizes(short_windows) if samples + _MARGIN <= size), FULL_WINDOW)


def window_sizes(short_windows: bool) -> tuple[int, ...]:
    return (*_WINDOWS, FULL_WINDOW) if short_windows else (FULL_WINDOW,)


def is_worth_another(attempts: list[Attempt]) -> bool:
    """Whisper's own checks of the last attempt: repetition, or words it does not believe itself.

    Silence needs no better words, and what is heard twice at different temperatures was said: a refrain repeats.
    """
    attempt, before = attempts[-1], attempts[:-1]
    if attempt.compression_ratio > _LOOP:
        words = _WORD.findall(attempt.text.lower())
        return all(_WORD.findall(other.text.lower()) != words for other in before)
    return attempt.avg_logprob < -1.0 and attempt.no_speech_prob <= 0.6


def is_silence(attempt: Attempt) -> bool:
    return attempt.no_speech_prob > 0.6 and attempt.avg_logprob <= -1.0


def choose_attempt(attempts: list[Attempt]) -> Attempt:
    """The likeliest that does not repeat itself; where all do, the one that does so least: loops are likely too."""
    sound = [attempt for attempt in attempts if attempt.compression_ratio <= _LOOP]
    if sound:
        return max(sound, key=lambda attempt: attempt.avg_logprob)
    return min(attempts, key=lambda attempt: attempt.compression_ratio)
