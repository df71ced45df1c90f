"""The form of /v1/audio/transcriptions and /translations: every field parsed and checked."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from speech_server.domain import Clip, VadOptions
from speech_server.engines.interfaces import TranscribeOptions
from speech_server.transcript.formats import TEXTS
from speech_server.transcript.languages import asked_language

ResponseFormat = Literal["json", "text", "srt", "verbose_json", "vtt"]
MOST_BRACKETS = 20  # of JSON in a field: one list or one object is all there is to say
Second = Field(ge=0, le=1e6, allow_inf_nan=False)
LADDER = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)  # tried in turn when a text repeats itself or is improbable


def from_json(value: object) -> object:
    """Fields of a form are text: a list or an object in one may be JSON."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        if value.count("[") + value.count("{") > MOST_BRACKETS:
            raise ValueError(f"not what this field takes: it has more than {MOST_BRACKETS} brackets")
        try:
            return json.loads(value)
        except ValueError as error:
            raise ValueError(f"not valid JSON: {error}") from error
    return value


def as_list(value: object) -> object:
    if isinstance(value, list):
        return [item for text in value for item in as_items(text)]
    return as_items(value)


def as_items(value: object) -> list[Any]:
    value = from_json(value)
    if isinstance(value, list):
        return value
    return [item.strip() for item in value.split(",")] if isinstance(value, str) else [value]


class ChunkingVad(BaseModel):
    """OpenAI's chunking strategy of one's own."""

    type: Literal["server_vad"]
    prefix_padding_ms: int = Field(300, ge=0, le=10_000)
    silence_duration_ms: int = Field(200, ge=0, le=60_000)
    threshold: float = Field(0.5, gt=0, lt=1)


class TranscriptionForm(BaseModel):
    """Fields beside `file`. A field left empty counts as not sent."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    model: str = Field(min_length=1, description="Id or alias of a speech recognition model.")
    language: str | None = Field(None, description="Language of the audio: a code or an English name.")
    prompt: str | None = Field(None, description="Text to guide the style, or the end of what was said before.")
    response_format: ResponseFormat = Field("json", description="Shape of the reply.")
    temperature: float = Field(
        0.0, ge=0, le=1, description="Sampling temperature; 0 tries 0.2 to 1.0 where the text is doubtful."
    )
    timestamp_granularities: Annotated[list[Literal["segment", "word"]], BeforeValidator(as_list)] = Field(
        [], description="Send as timestamp_granularities[]; `word` adds word times to verbose_json."
    )
    include: Annotated[list[Literal["logprobs"]], BeforeValidator(as_list)] = Field(
        [], description="Send as include[]; `logprobs` adds the probability of each token to json."
    )
    stream: bool = Field(False, description="Server-sent events while the audio is transcribed.")
    hotwords: str | None = Field(None, description="Words to expect, such as names.")
    vad_filter: bool = Field(True, description="Skip what is not speech.")
    chunking_strategy: Annotated[Literal["auto"] | ChunkingVad, BeforeValidator(from_json)] | None = Field(
        None, description='"auto", or {"type": "server_vad", ...} with its own thresholds.'
    )
    without_timestamps: bool | None = Field(
        None, description="Decode without timestamps; by default only where the reply shows none."
    )

    clip_start: Annotated[float | None, Second] = Field(
        None, description="Transcribe from this second of the recording on; times stay the recording's."
    )
    clip_end: Annotated[float | None, Second] = Field(None, description="Transcribe up to this second.")
    clip_zone: Annotated[float, Second] = Field(
        0.0, description="Move both ends by up to so many seconds to where it is quiet: neighbours find the same place."
    )
    clip_offset: Annotated[float, Second] = Field(
        0.0, description="The second of the recording at which the file begins, where the file is a part of it."
    )

    @field_validator("language")
    @classmethod
    def known_language(cls, value: str | None) -> str | None:
        return asked_language(value)

    @model_validator(mode="after")
    def checked_clip(self) -> TranscriptionForm:
        clip = self.clip
        if clip.start < clip.offset:
            raise ValueError(f"clip_start is {clip.start:g} and the file begins at second {clip.offset:g}: clip_offset")
        if clip.end is not None and clip.end - clip.start <= 2 * clip.zone:
            raise ValueError("clip_end must be more than twice clip_zone after clip_start, and after it in any case")
        return self

    @property
    def clip(self) -> Clip:
        start = self.clip_offset if self.clip_start is None else self.clip_start
        return Clip(start, self.clip_end, self.clip_zone, self.clip_offset)

    @property
    def _is_timed_text(self) -> bool:
        return self.response_format in TEXTS and TEXTS[self.response_format].timed

    @property
    def wants_words(self) -> bool:
        """Subtitles are cut at words, so they need their times too unless only segments were asked for."""
        if self.timestamp_granularities:
            return "word" in self.timestamp_granularities
        return self._is_timed_text

    def options(self, task: Literal["transcribe", "translate"]) -> TranscribeOptions:
        timed = self.wants_words or self.response_format == "verbose_json" or self._is_timed_text
        return TranscribeOptions(
            task=task,
            language=self.language,
            prompt=self.prompt,
            hotwords=self.hotwords,
            temperatures=(self.temperature,) if self.temperature else LADDER,
            word_timestamps=self.wants_words,
            without_timestamps=not timed if self.without_timestamps is None else self.without_timestamps,
            logprobs="logprobs" in self.include,
        )

    def vad(self) -> VadOptions | None:
        if isinstance(self.chunking_strategy, ChunkingVad):
            return VadOptions(
                threshold=self.chunking_strategy.threshold,
                min_silence_duration_ms=self.chunking_strategy.silence_duration_ms,
                speech_pad_ms=self.chunking_strategy.prefix_padding_ms,
            )
        return VadOptions() if self.vad_filter or self.chunking_strategy else None
