"""POST /v1/audio/speech: text to speech, as audio or as server-sent events."""

from __future__ import annotations

import base64
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from speech_server.domain import Voice, voice_id
from speech_server.engines.interfaces import SpeakOptions
from speech_server.errors import InvalidRequest
from speech_server.models.catalog.info import TTS
from speech_server.routes.bodies.json_body import JsonRoute
from speech_server.routes.state import Speech, SpeechDep
from speech_server.routes.streaming import begin, sse_stream
from speech_server.text_to_speech import CONTENT_TYPES, Bounds, speak

FAVOURITE_VOICE = "af_heart"  # Kokoro's best; other models start with their first
NO_VOICE = ("", "default", "unused")  # OpenVINO Model Server's clients have to send one, and send this

router = APIRouter(tags=["text to speech"], route_class=JsonRoute)


class SpeechRequest(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [{"model": "tts-1", "input": "Hello from here!", "voice": "af_heart", "response_format": "mp3"}]
        },
    )

    model: str = Field(min_length=1, description="Id or alias of a text-to-speech model.")
    input: str = Field(description="The text to speak.")
    voice: Annotated[str, BeforeValidator(voice_id)] = Field(
        "", description="A voice of the model, one of OpenAI's names, or a blend such as af_heart(2)+af_sky(1)."
    )
    response_format: Literal["mp3", "wav", "flac", "opus", "aac", "pcm"] = Field(
        "mp3", description="Audio format. Under /v3 wav by default."
    )
    speed: float = Field(1.0, ge=0.25, le=4.0, description="Times the voice's own pace.")
    stream_format: Literal["audio", "sse"] | None = Field(
        None, description="`audio` or `sse`. Without it a wav comes whole, with its true sizes; all else is streamed."
    )
    sample_rate: int | None = Field(None, ge=8000, le=48000, description="In Hz; by default the model's own.")
    language: str | None = Field(None, description="Language of the text where it is not the voice's own.")
    instructions: str | None = Field(None, description="Accepted and ignored.")

    @property
    def streamed(self) -> bool:
        return self.stream_format is not None or self.response_format != "wav"


@router.post(
    "/v1/audio/speech",
    response_class=Response,
    responses={200: {"content": {kind: {} for kind in (*CONTENT_TYPES.values(), "text/event-stream")}}},
)
async def create_speech(request: Request, speech: SpeechDep, order: SpeechRequest) -> Response:
    """Speaks a text, sentence by sentence: the first sound comes while the rest is still being made."""
    if getattr(request.state, "only_wav", False) and "response_format" not in order.model_fields_set:
        order = order.model_copy(update={"response_format": "wav"})
    check_input(order.input, speech.settings.max_input_characters)
    await speech.loader.require(order.model, TTS)
    if order.stream_format == "sse":
        return await begin(request, sse_stream(events(speech, order)), "text/event-stream")
    media_type = CONTENT_TYPES[order.response_format]
    if order.streamed:
        return await begin(request, chunks(speech, order), media_type)
    return await begin(request, chunks(speech, order), media_type, length=size_of_whole)


def check_input(text: str, most: int) -> None:
    if not text.strip():
        raise InvalidRequest("input is empty: give the text to speak", param="input")
    if len(text) > most:
        raise InvalidRequest(
            f"input has {len(text)} characters, at most {most} are taken (MAX_INPUT_CHARACTERS): send it in parts",
            param="input",
            code="string_above_max_length",
        )


async def chunks(speech: Speech, order: SpeechRequest) -> AsyncGenerator[bytes, None]:
    async with speech.loader.speaker(order.model) as speaker:
        options = SpeakOptions(
            voice=order.voice if order.voice not in NO_VOICE else own_voice(speaker.voices),
            speed=order.speed,
            language=order.language,
            early=order.streamed,
        )
        speaker.check(options)
        started, spoken = time.perf_counter(), list[float]()
        audio = speak(
            speaker,
            order.input,
            options,
            order.response_format,
            order.sample_rate,
            bounds=Bounds.of(speech.settings),
            streaming=order.streamed,
            count_seconds=spoken.append,
        )
        try:
            async with aclosing(audio):
                async for chunk in audio:
                    yield chunk
        finally:
            speech.metrics.count_audio(TTS, sum(spoken), time.perf_counter() - started)


def own_voice(voices: Mapping[str, Voice]) -> str:
    return FAVOURITE_VOICE if FAVOURITE_VOICE in voices else next(iter(voices))


def size_of_whole(header: bytes) -> int | None:
    from speech_server.audio.encode import wav_size  # numpy: not while the server starts

    return wav_size(header)


async def events(speech: Speech, order: SpeechRequest) -> AsyncGenerator[dict[str, Any], None]:
    async with aclosing(chunks(speech, order)) as audio:
        async for chunk in audio:
            yield {"type": "speech.audio.delta", "audio": base64.b64encode(chunk).decode()}
    # Nothing here is counted in tokens: characters in, as OpenAI bills its own tts-1.
    usage = {"input_tokens": len(order.input), "output_tokens": 0, "total_tokens": len(order.input)}
    yield {"type": "speech.audio.done", "usage": usage, "token_usage": usage}
