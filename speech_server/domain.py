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
MOST_SPEAKERS, MOST_KNOWN = 100, 20
SHORTEST_REFERENCE, LONGEST_REFERENCE = 2.0, 10.0  # seconds of a known voice, OpenAI's
REFERENCE_SLACK = 0.5  # seconds it may be too short or too long: encoders pad
_APART = 0.47  # CAM++'s Likeness.apart


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
class Count:
    """How many people there are: at least, at most; the same twice where it is known."""

    least: int = 1
    most: int | None = None

    @classmethod
    def asked(cls, num: int | None, least: int | None, most: int | None) -> Count:
        """Of num_speakers, min_speakers and max_speakers. Raises ValueError where they are none."""
        if any(number is not None and not 1 <= number <= MOST_SPEAKERS for number in (num, least, most)):
            raise ValueError(f"num_speakers, min_speakers and max_speakers go from 1 to {MOST_SPEAKERS}")
        if num is not None and (least or most):
            raise ValueError("num_speakers says it all: leave out min_speakers and max_speakers")
        if least and most and least > most:
            raise ValueError("min_speakers is more than max_speakers")
        return cls(num or least or 1, num or most)

    def check(self, found: int) -> None:
        """Raises ValueError where so few were found."""
        if found < self.least > 1:
            raise ValueError(
                f"{self.least} speakers are asked for, and there is speech enough for {found}: "
                "ask for fewer, or leave the number out"
            )


EVERYBODY = Count()  # who is there, however many


@dataclass(frozen=True, slots=True)
class Likeness:
    """Cosine distances of an encoder's voices, and the seconds below which a group needs more to be somebody.

    `apart`: two groups are two people. `few_apart`: one of fewer than `few` seconds is somebody else than all others;
    one of fewer than `least` is nobody of their own.
    """

    apart: float
    few_apart: float
    few: float = 5.0
    least: float = 1.5

    @property
    def scale(self) -> float:
        """What distances that were found with CAM++ are to be taken by for this encoder."""
        return self.apart / _APART


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

    def time(self, seconds: float, *, end: bool = False) -> float:
        """From seconds of the chunk to seconds of the whole; `end`: a seam belongs to what is before it."""
        spans = self.spans or ((0, self.offset),)
        sample = seconds * RATE
        place = spans[0]
        for span in spans[1:]:
            if span[0] > sample or (end and span[0] >= sample):
                break
            place = span
        return round(place[1] + seconds - place[0] / RATE, 3)

    def times(self, start: float, end: float) -> tuple[float, float]:
        """Of a word: both ends on the same side of a seam, the one its middle is on."""
        middle = (start + end) / 2
        shift = self.time(middle) - middle
        return round(start + shift, 3), round(end + shift, 3)


@dataclass(frozen=True, slots=True)
class ChunkTranscript:
    segments: tuple[Segment, ...]
    language: str  # empty where it was not given and the model does not tell
    language_probability: float


@dataclass(frozen=True, slots=True)
class Voice:
    id: str
    language: str  # BCP 47, lower case: en-us
    gender: str | None = None


def voice_id(given: object) -> object:
    """OpenAI's clients may name a voice by an object with its id."""
    return given.get("id", given) if isinstance(given, dict) else given


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
