"""POST /v1/chat/completions as it arrives: OpenAI's body, our four fields, and the audio inside its messages."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from speech_server.domain import voice_id
from speech_server.transcript.languages import asked_language

# Ours; the language model never sees them. `stream` is set by who asks it.
_OURS = frozenset(
    ("modalities", "audio", "transcription_model", "speech_model", "transcription_extra_body", "speech_extra_body")
)

NullIsEmpty = BeforeValidator(lambda value: {} if value is None else value)


class TranscriptionExtras(BaseModel, frozen=True):
    """transcription_extra_body: what /v1/audio/transcriptions takes beside the file."""

    language: Annotated[str | None, AfterValidator(asked_language)] = None
    prompt: str | None = None
    hotwords: str | None = None
    temperature: float = Field(0.0, ge=0, le=1)


class SpeechExtras(BaseModel, frozen=True):
    """speech_extra_body: what /v1/audio/speech takes beside the text."""

    speed: float = Field(1.0, ge=0.25, le=4.0)
    language: str | None = None
    sample_rate: int | None = Field(None, ge=8_000, le=48_000)


class SpokenFormat(BaseModel, frozen=True):
    voice: Annotated[str, BeforeValidator(voice_id)] = "alloy"
    format: Literal["wav", "mp3", "flac", "opus", "aac", "pcm16", "pcm"] = "wav"

    @property
    def encoding(self) -> Literal["wav", "mp3", "flac", "opus", "aac", "pcm"]:
        return "pcm" if self.format == "pcm16" else self.format


class ChatRequest(BaseModel):
    """Everything else passes through to the language model as it is."""

    model_config = ConfigDict(
        extra="allow",
        frozen=True,
        json_schema_extra={
            "examples": [{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say this is a test"}]}]
        },
    )

    model: str = Field(min_length=1, description="The language model, as its own server names it.")
    messages: list[dict[str, Any]] = Field(
        min_length=1,
        fail_fast=True,
        description="Content parts of type input_audio are transcribed and replaced by their text.",
    )
    stream: bool = Field(False, description="Server-sent events: text per token, audio per sentence.")
    modalities: Annotated[list[Literal["text", "audio"]], Field(fail_fast=True)] | None = Field(
        None, description='With "audio" the answer is spoken.'
    )
    audio: SpokenFormat | None = Field(None, description="Voice and format of a spoken answer; a stream is pcm16.")
    transcription_model: str = Field("whisper-1", description="What transcribes the audio in messages.")
    speech_model: str = Field("tts-1", description="What speaks the answer.")
    transcription_extra_body: Annotated[TranscriptionExtras, NullIsEmpty] = Field(
        TranscriptionExtras(), description="E.g. language, prompt."
    )
    speech_extra_body: Annotated[SpeechExtras, NullIsEmpty] = Field(SpeechExtras(), description="E.g. speed.")

    @property
    def speaks(self) -> bool:
        return "audio" in (self.modalities or ())

    @property
    def voice(self) -> SpokenFormat:
        return self.audio or SpokenFormat()

    def upstream(self, messages: list[dict[str, Any]]) -> dict[str, Any]:
        """The body for the language model."""
        body = self.model_dump(exclude_unset=True, exclude=set(_OURS))
        return {**body, "messages": messages}
