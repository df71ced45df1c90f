"""POST /v1/audio/diarization: who speaks when. POST /v1/audio/speech/embedding: what a voice is like."""

from __future__ import annotations

import math
from pathlib import PurePath
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from speech_server.models.catalog.info import VOICES
from speech_server.models.loader import ENCODER
from speech_server.routes.bodies.audio_form import Sent, is_pcm, sent_as
from speech_server.routes.bodies.speaker_fields import SpeakerFields, expected_speakers
from speech_server.routes.state import Speech, SpeechDep
from speech_server.routes.streaming import unless_gone
from speech_server.speakers.naming import WhoSpoke
from speech_server.speakers.voice_print import embedding_of
from speech_server.speakers.who_speaks import voice_engines, who_speaks
from speech_server.transcript import formats

router = APIRouter(tags=["speakers"])


class DiarizationForm(SpeakerFields):
    """Fields beside `file`."""

    model: str = Field(ENCODER, min_length=1, description="Id or alias of a voice encoder.")
    response_format: Literal["json", "rttm"] = Field("json", description="Shape of the reply.")
    speaker_embeddings: bool = Field(False, description="With json: what each voice is like.")


class EmbeddingForm(BaseModel, frozen=True):
    """Fields beside `file`."""

    model: str = Field(ENCODER, min_length=1, description="Id or alias of a voice encoder.")


Recording = Annotated[Sent[DiarizationForm], Depends(sent_as(DiarizationForm, VOICES))]
OneVoice = Annotated[Sent[EmbeddingForm], Depends(sent_as(EmbeddingForm, VOICES))]


@router.post("/v1/audio/diarization")
async def create_diarization(
    request: Request,
    speech: SpeechDep,
    job: Recording,
) -> Response:
    """Tells who speaks when: letters, or the names of those whose voices are known."""
    who, seconds = await unless_gone(request.receive, diarize(speech, job))
    if job.form.response_format == "rttm":
        name = PurePath(job.upload.filename or "audio").stem.replace(" ", "_") or "audio"
        return Response(formats.rttm(who.turns, name), media_type="text/plain")
    body: dict[str, Any] = {
        "duration": formats.number(seconds, 3),
        "segments": [formats.turn_entry(turn) for turn in who.turns],
    }
    if job.form.speaker_embeddings:
        body |= formats.voices(who.people, speech.catalog.resolve(job.form.model), who.likeness)
    return JSONResponse(body)


async def diarize(speech: Speech, job: Recording) -> tuple[WhoSpoke, float]:
    async with voice_engines(speech.loader, job.form.model) as engines:
        expected = await expected_speakers(job.form, engines.encoder, engines.detector)
        return await who_speaks(
            job.upload.file, engines, expected,
            pcm=is_pcm(job.upload), max_seconds=speech.settings.max_audio_seconds,
        )  # fmt: skip


@router.post("/v1/audio/speech/embedding")
async def create_embedding(request: Request, speech: SpeechDep, job: OneVoice) -> Response:
    """A vector of length 1 for the voice in a recording; the cosine of two says how alike they are."""
    voice, seconds = await unless_gone(request.receive, embed(speech, job))
    tokens = math.ceil(seconds)  # there are none: seconds of sound stand in for them
    body = {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": voice}],
        "model": job.form.model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    return JSONResponse(body)


async def embed(speech: Speech, job: OneVoice) -> tuple[list[float], float]:
    async with speech.loader.voice_encoder(job.form.model) as encoder, speech.loader.detector() as detector:
        voice, _, seconds = await embedding_of(
            job.upload.file, encoder, detector,
            pcm=is_pcm(job.upload), max_seconds=speech.settings.max_audio_seconds,
        )  # fmt: skip
        return [formats.number(float(value), 6) for value in voice], seconds
