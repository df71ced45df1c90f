"""The form of /v1/audio/transcriptions and /translations: every field parsed and checked."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, model_validator

from speech_server.domain import Clip, VadOptions
from speech_server.engines.interfaces import TranscribeOptions
from speech_server.routes.bodies.audio_form import as_list, from_json
from speech_server.routes.bodies.speaker_fields import SpeakerFields
from speech_server.transcript.formats import TEXTS
from speech_server.transcript.languages import asked_language, asked_languages

ResponseFormat = Literal["json", "text", "srt", "verbose_json", "vtt", "diarized_json"]
Second = Field(ge=0, le=1e6, allow_inf_nan=False)
LADDER = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)  # tried in turn when a text repeats itself or is improbable


class ChunkingVad(BaseModel):
    """OpenAI's chunking strategy of one's own."""

    type: Literal["server_vad"]
    prefix_padding_ms: int = Field(300, ge=0, le=10_000)
    silence_duration_ms: int = Field(200, ge=0, le=60_000)
    threshold: float = Field(0.5, gt=0, lt=1)


class TranscriptionForm(SpeakerFields):
    """Fields beside `file`. A field left empty counts as not sent."""

    model: str = Field(min_length=1, description="Id or alias of a speech recognition model.")
    language: Annotated[str | None, AfterValidator(asked_language)] = Field(
        None, description="Language of the audio: a code or an English name."
    )
    languages: Annotated[list[str], BeforeValidator(as_list)] = Field(
        [], description="Send as languages[]: the language is one of these; which one is found out."
    )
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
    keywords: list[str] = Field([], description="Send as keywords[]: the same, as OpenAI's clients send it.")
    vad_filter: bool = Field(True, description="Skip what is not speech.")
    chunking_strategy: Annotated[Literal["auto"] | ChunkingVad, BeforeValidator(from_json)] | None = Field(
        None, description='"auto", or {"type": "server_vad", ...} with its own thresholds.'
    )
    without_timestamps: bool | None = Field(
        None, description="Decode without timestamps; by default only where the reply shows none."
    )

    diarize: bool = Field(False, description="Say who speaks: speakers in the segments, or before what they say.")
    speaker_embeddings: bool = Field(
        False, description="With speakers in JSON: what each voice is like, to know it again in other recordings."
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

    @model_validator(mode="after")
    def checked(self) -> TranscriptionForm:
        asked_languages(self.languages, self.language)
        if self.include and self.response_format != "json" and not self.stream:
            raise ValueError("include[]=logprobs shows in response_format=json, and in a stream: ask for one of them")
        clip = self.clip
        if clip.start < clip.offset:
            raise ValueError(f"clip_start is {clip.start:g} and the file begins at second {clip.offset:g}: clip_offset")
        if clip.end is not None and clip.end - clip.start <= 2 * clip.zone:
            raise ValueError("clip_end must be more than twice clip_zone after clip_start, and after it in any case")
        if self.says_who and not self.names_speakers:
            raise ValueError("who speaks is only told with diarize=true or response_format=diarized_json")
        return self

    @property
    def names_speakers(self) -> bool:
        return self.diarize or self.response_format == "diarized_json"

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
        words = self.wants_words or self.names_speakers
        timed = words or self.response_format == "verbose_json" or self._is_timed_text
        return TranscribeOptions(
            task=task,
            language=self.language,
            languages=asked_languages(self.languages, self.language),
            prompt=self.prompt,
            hotwords=", ".join(filter(None, (self.hotwords, *self.keywords))) or None,
            temperatures=(self.temperature,) if self.temperature else LADDER,
            word_timestamps=words,
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
