"""The domain's types: what everybody speaks of, each defined once. Imports nothing of ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:  # numpy takes 0.2 s to import, and most need only the names below
    import numpy as np
    from numpy.typing import NDArray

Samples: TypeAlias = "NDArray[np.float32]"  # mono, -1..1, shape (n,)
Embeddings: TypeAlias = "NDArray[np.float32]"  # one voice a row, each of length 1, shape (n, size)
Activity: TypeAlias = "NDArray[np.bool_]"  # who speaks in each frame of a window, shape (frames, people)
RATE = 16_000  # Hz, what transcribers and voice detectors take
FRAME = 512  # samples at RATE per voice probability: 32 ms
SECTION = 600.0  # seconds between two nominal cuts of a long recording
REACH = 15.0  # seconds around a nominal place in which the cut is looked for


@dataclass(frozen=True, slots=True)
class Word:
    start: float  # seconds from the start of the audio
    end: float
    word: str  # with its leading space, as Whisper writes it
    probability: float
    speaker: str | None = None


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    token: str
    logprob: float


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of transcript; times in seconds from the start of the audio."""

    start: float
    end: float
    text: str
    tokens: tuple[int, ...] = ()
    temperature: float = 0.0
    avg_logprob: float = 0.0
    compression_ratio: float = 0.0
    no_speech_prob: float = 0.0
    words: tuple[Word, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    speaker: str | None = None


@dataclass(frozen=True, slots=True)
class SpeechSpan:
    start: int  # samples at RATE
    end: int


@dataclass(frozen=True, slots=True)
class SpeakerTurn:
    """One person speaks; seconds from the start of the audio."""

    start: float
    end: float
    speaker: str


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who spoke: `voice` is the mean of what was heard of them, for whoever joins parts of a recording."""

    name: str
    seconds: float
    voice: Embeddings


@dataclass(frozen=True, slots=True)
class VadOptions:
    """Turning probabilities into spans of speech; the names are Silero's and OpenAI's."""

    threshold: float = 0.5
    neg_threshold: float | None = None
    min_speech_duration_ms: int = 0
    max_speech_duration_s: float = float("inf")
    min_silence_duration_ms: int = 2000
    speech_pad_ms: int = 400


@dataclass(frozen=True, slots=True)
class SpeechChunk:
    """At most 30 s of audio to transcribe, cut out at `offset` seconds of the whole; RATE Hz.

    `spans` tells where pieces of `samples` came from when silence inside was cut out:
    (start sample in `samples`, start second in the whole), ascending. Empty: contiguous from `offset`, and nobody
    knows where in it there is speech.
    """

    samples: Samples
    offset: float
    spans: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class ChunkTranscript:
    segments: tuple[Segment, ...]
    language: str
    language_probability: float


@dataclass(frozen=True, slots=True)
class Voice:
    id: str
    language: str  # BCP 47, lower case: en-us
    gender: str | None = None


@dataclass(frozen=True, slots=True)
class Clip:
    """A part of a recording, in seconds: from `start` to `end` (None: to its end), each moved by up to `zone` to where
    it is quiet. The sound given begins at the second `offset` of the recording."""

    start: float = 0.0
    end: float | None = None
    zone: float = 0.0
    offset: float = 0.0

    @property
    def needed_from(self) -> float:
        """Nothing before this second changes anything."""
        return max(self.start - self.zone, self.offset)
