"""POST /v1/audio/speech/timestamps: where in an audio file somebody speaks."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field

from speech_server.domain import RATE, SpeechSpan, VadOptions
from speech_server.models.catalog.info import VAD
from speech_server.routes.bodies.audio_form import Sent, is_pcm, sent_as
from speech_server.routes.state import Speech, SpeechDep
from speech_server.routes.streaming import unless_gone
from speech_server.speech_to_text import detect_speech

LONGEST_MS = 3_600_000

router = APIRouter(tags=["voice activity"])


class VadForm(BaseModel, frozen=True):
    """Fields beside `file`; the names are Silero's, the defaults Speaches'."""

    model: str = Field("silero_vad_v5", description="Any silero_vad name.")
    threshold: float = Field(0.75, ge=0, le=1, description="Probability above which a frame is speech.")
    neg_threshold: float | None = Field(
        None, ge=0, le=1, description="Probability below which speech ends; by default threshold - 0.15."
    )
    min_speech_duration_ms: int = Field(0, ge=0, le=LONGEST_MS, description="Shorter speech is left out.")
    max_speech_duration_s: float | None = Field(None, gt=0, description="Longer speech is split; by default none is.")
    min_silence_duration_ms: int = Field(1000, ge=0, le=LONGEST_MS, description="Silence that separates two spans.")
    speech_pad_ms: int = Field(0, ge=0, le=LONGEST_MS, description="Added on both sides of each span.")

    def options(self) -> VadOptions:
        return VadOptions(**self.model_dump(exclude={"model"}, exclude_none=True))


class Span(BaseModel):
    """Milliseconds from the start of the audio."""

    start: int
    end: int


@router.post("/v1/audio/speech/timestamps", responses={200: {"model": list[Span]}})
async def create_timestamps(
    request: Request, speech: SpeechDep, job: Annotated[Sent[VadForm], Depends(sent_as(VadForm, VAD))]
) -> list[dict[str, int]]:
    """Detects speech: the spans in which somebody speaks."""
    spans = await unless_gone(request.receive, detect(speech, job))
    return [{"start": milliseconds(span.start), "end": milliseconds(span.end)} for span in spans]


async def detect(speech: Speech, job: Sent[VadForm]) -> list[SpeechSpan]:
    async with speech.loader.detector(job.form.model) as detector:
        longest = speech.settings.max_audio_seconds
        return await detect_speech(
            job.upload.file, detector, job.form.options(), pcm=is_pcm(job.upload), max_seconds=longest
        )


def milliseconds(samples: int) -> int:
    return samples * 1000 // RATE
