"""What a realtime session is set to: OpenAI's `session` object, its defaults, and partial updates of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    StringConstraints,
    model_validator,
)

from speech_server.domain import voice_id
from speech_server.transcript.languages import asked_language, asked_languages, language_code

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=256)]
Modality = Literal["text", "audio"]

PATIENCE = 3


@dataclass(frozen=True)
class Eagerness:
    """How semantic_vad waits, in milliseconds of silence: then a turn model is asked whether the turn is over. It ends
    at once if so, and if nobody has answered by `wait_ms`; PATIENCE times as late if it is not."""

    ask_ms: int
    wait_ms: int

    @property
    def patient_ms(self) -> int:
        return PATIENCE * self.wait_ms


# Smart Turn was made to be asked after 200 ms.
EAGERNESS = {
    "low": Eagerness(400, 1200),
    "medium": Eagerness(300, 800),
    "auto": Eagerness(300, 800),
    "high": Eagerness(200, 400),
}


class Strict(BaseModel, extra="forbid", frozen=True):
    """Unknown fields are an error that names them: a misspelled setting is never silently ignored."""


class PcmFormat(Strict):
    type: Literal["audio/pcm"] = "audio/pcm"
    rate: int = Field(24_000, ge=8_000, le=48_000)


class G711Format(Strict):
    type: Literal["audio/pcmu", "audio/pcma"]

    @property
    def rate(self) -> int:
        return 8_000


AudioFormat = Annotated[PcmFormat | G711Format, Field(discriminator="type")]


class TranscriptionSettings(Strict):
    model: Name = "whisper-1"
    language: Annotated[str | None, AfterValidator(asked_language)] = None
    languages: tuple[str, ...] | None = None  # it is one of these
    prompt: str | None = None
    keywords: tuple[str, ...] | None = None  # become Whisper's hotwords
    delay: Literal["minimal", "low", "medium", "high", "xhigh"] | None = None  # accepted, ignored

    @property
    def names_speakers(self) -> bool:
        """OpenAI asks for it by the model's name."""
        return self.model.endswith("-diarize")

    @model_validator(mode="after")
    def _known_languages(self) -> TranscriptionSettings:
        asked_languages(self.languages or (), self.language)
        return self


class ServerVad(Strict):
    type: Literal["server_vad"] = "server_vad"
    threshold: float = Field(0.5, gt=0, lt=1)
    silence_duration_ms: int = Field(550, ge=0, le=30_000)
    prefix_padding_ms: int = Field(300, ge=0, le=5_000)
    create_response: bool = True
    interrupt_response: bool = True
    idle_timeout_ms: int | None = Field(None, ge=1_000, le=600_000)


class SemanticVad(Strict):
    type: Literal["semantic_vad"]
    eagerness: Literal["low", "medium", "high", "auto"] = "auto"
    create_response: bool = True
    interrupt_response: bool = True


class NoiseReduction(Strict):
    """Accepted, ignored: there is no filter."""

    type: Literal["near_field", "far_field"] | None = None
    strength: float | None = None


class AudioInput(Strict):
    format: AudioFormat = PcmFormat()
    transcription: TranscriptionSettings | None = TranscriptionSettings()
    turn_detection: Annotated[ServerVad | SemanticVad, Field(discriminator="type")] | None = ServerVad()
    noise_reduction: NoiseReduction | None = None

    @property
    def spoken(self) -> TranscriptionSettings:
        """How to transcribe. With `transcription` null nobody is shown the text, but the language model needs it."""
        return self.transcription or TranscriptionSettings()

    @property
    def vad(self) -> ServerVad | None:
        """Turn detection as server_vad, by silence alone; None is push to talk."""
        turns = self.turn_detection
        if isinstance(turns, SemanticVad):
            return ServerVad(
                silence_duration_ms=EAGERNESS[turns.eagerness].wait_ms,
                create_response=turns.create_response,
                interrupt_response=turns.interrupt_response,
            )
        return turns

    @property
    def eagerness(self) -> Eagerness | None:
        """Where it is not silence alone that ends turns."""
        turns = self.turn_detection
        return EAGERNESS[turns.eagerness] if isinstance(turns, SemanticVad) else None


def _english(language: str) -> str:
    if language_code(language) != "en":
        raise ValueError("Whisper translates into English only: ask for `en`, or leave it out")
    return "en"


class AudioOutput(Strict):
    format: AudioFormat = PcmFormat()
    model: Name = "tts-1"  # ours: OpenAI's models speak by themselves
    voice: Annotated[Name, BeforeValidator(voice_id)] = "alloy"
    speed: float = Field(1.0, ge=0.25, le=4.0)
    language: Annotated[str, AfterValidator(_english)] | None = None  # of a translation


class Audio(Strict):
    input: AudioInput = AudioInput()
    output: AudioOutput = AudioOutput()


class Tool(BaseModel, frozen=True):
    """A function the language model may call; passed through."""

    type: Literal["function"] = "function"
    name: Name
    description: str | None = None
    parameters: Mapping[str, Any] | None = None


class Reasoning(Strict):
    """Goes to the language model as `reasoning_effort`."""

    effort: Literal["minimal", "low", "medium", "high", "xhigh"] | None = None


def _no_server_of_tools(choice: str | Mapping[str, Any]) -> str | Mapping[str, Any]:
    if isinstance(choice, Mapping) and choice.get("type") == "mcp":
        raise ValueError("there are no MCP tools here: name a function")
    return choice


def _no_stored_prompt(prompt: object) -> None:
    if prompt is not None:
        raise ValueError("prompts that OpenAI keeps are not known here: send the text as `instructions`")


ToolChoice = Annotated[str | Mapping[str, Any], AfterValidator(_no_server_of_tools)]
StoredPrompt = Annotated[Any, AfterValidator(_no_stored_prompt)]


class SessionConfig(Strict):
    """The session in the GA shape. The last group is accepted for OpenAI's clients and changes nothing."""

    type: Literal["realtime", "transcription", "translation"] = "realtime"
    model: Name | None = None
    instructions: str = ""
    output_modalities: tuple[Modality, ...] = Field(("audio",), min_length=1)
    audio: Audio = Audio()
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = "auto"
    parallel_tool_calls: bool | None = None
    reasoning: Reasoning | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    max_output_tokens: Annotated[int, Field(ge=1)] | Literal["inf"] = "inf"
    include: tuple[Literal["item.input_audio_transcription.logprobs"], ...] | None = None
    prompt: StoredPrompt = None

    tracing: Any = None
    truncation: Any = None

    @model_validator(mode="after")
    def _translation_can_be(self) -> SessionConfig:
        output = self.audio.output
        if self.type != "translation":
            if output.language is not None:
                raise ValueError("audio.output.language is a translation's: connect to /v1/realtime/translations")
            return self
        if self.audio.input.turn_detection is None:
            raise ValueError("a translation finds the turns itself: audio.input.turn_detection cannot be null")
        if self.audio.input.spoken.names_speakers:
            raise ValueError("a translation does not tell who speaks: choose another audio.input.transcription.model")
        if output.format.type != "audio/pcm":
            raise ValueError("a translation is spoken as audio/pcm: audio.output.format cannot be another")
        return self

    @property
    def translator(self) -> str | None:
        """The model that puts what is heard into English."""
        return (self.model or "whisper-1") if self.type == "translation" else None

    @property
    def speaks(self) -> bool:
        return "audio" in self.output_modalities

    @property
    def shows_logprobs(self) -> bool:
        return bool(self.include)

    def updated(self, patch: Mapping[str, Any]) -> SessionConfig:
        """This session with the fields in `patch` changed and all others kept. Raises pydantic's ValidationError."""
        return SessionConfig.model_validate(_merge(self.model_dump(), patch))

    def describe(self, session_id: str, expires_at: int) -> dict[str, Any]:
        """The GA `session` object of session.created and session.updated."""
        shown = self.model_dump(mode="json", exclude_none=True)
        shown["audio"]["input"] = {"turn_detection": None, "transcription": None} | shown["audio"]["input"]
        if self.type == "translation":
            shown = {k: shown[k] for k in ("type", "output_modalities", "audio")} | {"model": self.translator}
        elif self.type == "transcription":
            kept = ("type", "include")
            shown = {k: shown[k] for k in kept if k in shown} | {"audio": {"input": shown["audio"]["input"]}}
            shown["object"] = "realtime.transcription_session"
        else:
            shown["object"] = "realtime.session"
        return shown | {"id": session_id, "expires_at": expires_at}


def _merge(old: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Objects merge field by field; everything else, and an object of another `type`, replaces what was there."""
    merged = dict(old)
    for key, value in patch.items():
        before = merged.get(key)
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            kind = before.get("type")
            merged[key] = _merge(before, value) if value.get("type", kind) == kind else value
        else:
            merged[key] = value
    return merged
