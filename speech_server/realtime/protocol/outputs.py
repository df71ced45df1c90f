"""What the session's state machine gives out: server events for the client, and work for the engines."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any

from speech_server.domain import Person, Samples, Segment, TokenLogprob
from speech_server.errors import SpeechError
from speech_server.realtime.protocol.config import AudioFormat, AudioOutput, TranscriptionSettings
from speech_server.realtime.protocol.events import ProtocolError


@dataclass(frozen=True)
class Met:
    """Who has spoken before in the session. Their voices are two people's from the distance `apart` on, by which an
    encoder is known, too: one's voices mean nothing to another."""

    people: tuple[Person, ...] = ()
    apart: float = 0.0

    @property
    def names(self) -> frozenset[str]:
        return frozenset(person.name for person in self.people)


@dataclass(frozen=True)
class WhoSaid:
    """Who said what: the segments' speakers are `people`, of whom those that are not in `met` are new."""

    segments: tuple[Segment, ...]
    people: tuple[Person, ...]
    apart: float
    met: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Transcribe:
    """Answer with Session.transcribed or .transcription_failed. `final`: the best text, not the quickest.
    `before`: the words that were said right before these."""

    job: int
    samples: Samples
    settings: TranscriptionSettings
    final: bool
    logprobs: bool = False
    met: Met = Met()
    before: str = ""


@dataclass(frozen=True)
class Translate:
    """The same, in English. `source`: how to write down its own words, where they are to be shown."""

    job: int
    samples: Samples
    model: str
    source: TranscriptionSettings | None
    final: bool


@dataclass(frozen=True)
class TranscribeUpload:
    """The same for base64 audio that came in the parts of a message."""

    job: int
    audio: tuple[str, ...]
    format: AudioFormat
    settings: TranscriptionSettings
    logprobs: bool = False
    met: Met = Met()


@dataclass(frozen=True)
class Written:
    """What an engine made of one of these. `spoken`: who said it, where that was asked for."""

    text: str
    seconds: float
    language: str | None = None
    logprobs: tuple[TokenLogprob, ...] = ()
    spoken: WhoSaid | None = None
    source: str = ""  # of a translation: the words it is of


@dataclass(frozen=True)
class StopWork:
    """Give up a transcription, the question about a pause, or a response: nobody waits for it any more."""

    work: int | str


@dataclass(frozen=True)
class JudgePause:
    """Answer with Session.pause_judged: whether who has fallen silent has finished. No answer is one, too."""

    pause: str
    samples: Samples  # of the turn, as far as a turn model looks back


@dataclass(frozen=True)
class Generate:
    """Ask the language model and, when `voice` is set, speak its words; answer with Session.reply_*."""

    response_id: str
    body: dict[str, Any]  # of the chat completion
    voice: AudioOutput | None


@dataclass(frozen=True)
class Pronounce:
    """Speak a translation's next words, after those before; answer with Session.pronouncing, then .pronounced."""

    text: str
    voice: AudioOutput
    elapsed_ms: int


@dataclass(frozen=True)
class Play:
    """Sound for the person in a call, after what came before: base64."""

    data: str
    format: AudioFormat


@dataclass(frozen=True)
class Hush:
    """Forget what was to be played."""


@dataclass(frozen=True)
class ListenFor:
    """From the next append on, the audio comes in this format."""

    format: AudioFormat


Transcription = Transcribe | Translate | TranscribeUpload
Work = Transcription | JudgePause | Generate | StopWork | Pronounce | Play | Hush | ListenFor


def new_id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(10)}"


def describe(error: SpeechError) -> dict[str, Any]:
    return {"type": error.type, "code": error.code, "message": error.message, "param": error.param}


@dataclass
class Outputs:
    events: list[dict[str, Any]] = field(default_factory=list)
    work: list[Work] = field(default_factory=list)

    def emit(self, kind: str, **fields: Any) -> None:
        self.events.append({"type": kind, "event_id": new_id("event"), **fields})

    def refuse(self, error: ProtocolError) -> None:
        self.emit("error", error={**describe(error), "event_id": error.event_id})

    def do(self, work: Work) -> None:
        self.work.append(work)
