"""POST /v1/audio/transcriptions and /translations: speech to text, whole or as it is heard.

GET /api/progress/{request_id}: how far one in work is.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request, Response
from starlette.responses import JSONResponse

from speech_server.decoding import warm_up
from speech_server.domain import Segment
from speech_server.errors import NotFound, RequestIdNotUnique
from speech_server.hearing.speakers.attribution import attributed
from speech_server.models.catalog.info import STT
from speech_server.models.transcribers import transcriber
from speech_server.pools import Pool
from speech_server.routes.bodies.audio_form import AUDIO, Sent, audio_of, is_pcm, model_check, parse_form
from speech_server.routes.bodies.form import read_form
from speech_server.routes.bodies.speaker_fields import expected_speakers
from speech_server.routes.bodies.transcription_form import TranscriptionForm
from speech_server.routes.state import Speech, SpeechDep
from speech_server.routes.streaming import begin, sse_stream, unless_gone
from speech_server.speakers.naming import WhoSpoke
from speech_server.speakers.who_speaks import voice_engines
from speech_server.speech_to_text import Transcription, transcribe
from speech_server.transcript import formats

DEFAULT_MODEL = "whisper-1"
UNDETERMINED = "und"  # ISO 639's code for no language: silence has none

_rendering = Pool("rendering", 2, waiting=1024)  # hours of speech take a while to write out

router = APIRouter(tags=["speech to text"])

Task = Literal["transcribe", "translate"]


async def read_job(request: Request, speech: SpeechDep) -> AsyncIterator[Sent[TranscriptionForm]]:
    warm_up()
    async with read_form(request, AUDIO, model_check(speech, STT)) as form:
        model = speech.catalog.only or (DEFAULT_MODEL if getattr(request.state, "one_model", False) else None)
        fields = parse_form(TranscriptionForm, form, {"model": model} if model else {})
        async with audio_of(form, speech) as upload:
            yield Sent(fields, upload, request.state.request_id)


Order = Annotated[Sent[TranscriptionForm], Depends(read_job)]


@router.post("/v1/audio/transcriptions")
async def create_transcription(request: Request, speech: SpeechDep, job: Order) -> Response:
    """Transcribes audio, or the sound of a video, into its own language."""
    return await answer(request, speech, job, "transcribe")


@router.post("/v1/audio/translations")
async def create_translation(request: Request, speech: SpeechDep, job: Order) -> Response:
    """Translates speech in any language into English text."""
    return await answer(request, speech, job, "translate")


async def answer(request: Request, speech: Speech, job: Order, task: Task) -> Response:
    if job.form.stream:
        return await begin(request, sse_stream(events(speech, job, task)), "text/event-stream")
    return await unless_gone(request.receive, whole(speech, job, task))


@asynccontextmanager
async def transcribing(speech: Speech, job: Order, task: Task) -> AsyncIterator[Transcription]:
    """The transcription in work; all its work stops when the block is left."""
    vad = job.form.vad()
    async with AsyncExitStack() as stack:
        options = job.form.options(task)
        engine = await stack.enter_async_context(transcriber(speech.loader, job.form.model, options))
        detector = await stack.enter_async_context(speech.loader.detector()) if vad or job.form.names_speakers else None
        voices = None
        if job.form.names_speakers:
            engines = await stack.enter_async_context(voice_engines(speech.loader))
            voices = engines.voices(await expected_speakers(job.form, engines.encoder, engines.detector))
            stack.push_async_callback(voices.aclose)
        transcription = transcribe(
            job.upload.file, engine, detector, options, vad,
            pcm=is_pcm(job.upload), max_seconds=speech.settings.max_audio_seconds, clip=job.form.clip,
            voices=voices, early=job.form.stream,
        )  # fmt: skip
        stack.push_async_callback(transcription.aclose)
        started = time.perf_counter()
        stack.callback(lambda: speech.metrics.count_audio(STT, transcription.done, time.perf_counter() - started))
        stack.enter_context(speech.running.entered(job.request_id, transcription))
        yield transcription


async def whole(speech: Speech, job: Order, task: Task) -> Response:
    async with transcribing(speech, job, task) as transcription:
        segments = [segment async for segment in transcription]
        who = await transcription.who_spoke()
    encoder = speech.catalog.resolve(speech.settings.default_speaker_model)
    return await _rendering.run(render, job.form, segments, transcription, task, who, encoder)


def render(
    form: TranscriptionForm,
    segments: list[Segment],
    done: Transcription,
    task: Task,
    who: WhoSpoke | None,
    encoder: str,
) -> Response:
    segments = attributed(segments, who.turns) if who else segments
    if text := formats.TEXTS.get(form.response_format):
        return Response(text.write(segments), media_type=text.content_type)
    if form.response_format == "verbose_json":
        language = done.language or UNDETERMINED
        body = formats.verbose(segments, task=task, language=language, duration=done.duration, words=form.wants_words)
    elif form.response_format == "diarized_json":
        body = formats.diarized(segments, duration=done.duration)
    else:
        body = {"text": formats.dialogue(segments)}
        if form.include:
            body["logprobs"] = formats.logprob_entries(entry for segment in segments for entry in segment.logprobs)
        if task == "transcribe":
            body["languages"] = formats.languages(done.language)
        body["usage"] = formats.usage(done.duration)
    if who and form.speaker_embeddings:
        body |= formats.voices(who.people, encoder, who.likeness)
    return JSONResponse(body)


async def events(speech: Speech, job: Order, task: Task) -> AsyncGenerator[dict[str, Any], None]:
    """A delta for each segment as soon as it is final, then the whole text: exactly the deltas joined.

    With verbose_json its times follow each delta, as a segment of their own. Who spoke is known when all have been
    heard: segments with their speakers come at the end, and replace those.
    """
    verbose = job.form.response_format == "verbose_json"
    words = verbose and job.form.wants_words
    text = ""
    tokens: list[dict[str, Any]] = []
    segments: list[Segment] = []
    async with transcribing(speech, job, task) as transcription:
        async for segment in transcription:
            delta = segment.text if text else segment.text.lstrip()
            if not delta:
                continue
            text += delta
            segments.append(segment)
            logprobs = formats.logprob_entries(segment.logprobs) if job.form.include else None
            tokens += logprobs or ()
            yield {"type": "transcript.text.delta", "delta": delta, "logprobs": logprobs}
            if verbose:
                yield formats.streamed_segment(len(segments) - 1, segment, words=words)
        if who := await transcription.who_spoke():
            for number, segment in enumerate(await _rendering.run(attributed, segments, who.turns)):
                yield formats.diarized_segment(number, segment, words=words)
    done: dict[str, Any] = {"type": "transcript.text.done", "text": text}
    if task == "transcribe":
        done["languages"] = formats.languages(transcription.language)
    done["usage"] = formats.usage(transcription.duration)
    yield {**done, "logprobs": tokens if job.form.include else None}


@router.get("/api/progress/{request_id}")
async def get_progress(request_id: str, speech: SpeechDep) -> dict[str, Any]:
    """Seconds of audio finished, and all there are (null while unknown), of the request sent with this X-Request-ID."""
    found = speech.running.find(request_id)
    if not found:
        raise NotFound(f"No transcription with request id '{request_id}' is running")
    if len(found) > 1:
        raise RequestIdNotUnique(f"{len(found)} transcriptions run under request id '{request_id}': send another each")
    return {"seconds_done": round(found[0].done, 2), "seconds": found[0].duration}
