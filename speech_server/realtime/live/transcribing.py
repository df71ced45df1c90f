"""Carries out the session's transcriptions on the speech-to-text engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AsyncExitStack, aclosing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from speech_server.audio.resample import Resampler
from speech_server.domain import RATE, Samples, Segment, SpeechChunk, VadOptions
from speech_server.engines.cores import core_count
from speech_server.engines.interfaces import TranscribeOptions, Transcriber
from speech_server.errors import Busy, SpeechError
from speech_server.hearing.speakers.attribution import attributed
from speech_server.models.transcribers import transcriber
from speech_server.realtime.live.ear import decode, decode_base64
from speech_server.realtime.protocol.config import TranscriptionSettings
from speech_server.realtime.protocol.events import ProtocolError
from speech_server.realtime.protocol.outputs import (
    Met,
    Transcribe,
    TranscribeUpload,
    Translate,
    WhoSaid,
    Written,
)
from speech_server.realtime.state.deltas import key, words
from speech_server.speakers.voices import ExpectedSpeakers
from speech_server.speakers.who_speaks import voice_engines
from speech_server.speech_to_text import bounded, transcribe_samples
from speech_server.transcript.languages import asked_languages

if TYPE_CHECKING:
    from speech_server.models.loader import Loader

BLOCK_SECONDS = 30
# At once, in all sessions: a guess that takes a core from somebody's final text is not worth it.
MOST_GUESSES = max(1, core_count() // 2)


class Load:
    """How many transcriptions of live turns are under way in this process."""

    def __init__(self) -> None:
        self.finals = self.guesses = 0

    @contextmanager
    def counted(self, *, final: bool) -> Iterator[None]:
        """Guesses get what finals leave: raises Busy for one too many."""
        if not final and (self.finals or self.guesses >= MOST_GUESSES):
            raise Busy("the engine has more important things to do than to guess")
        self.finals += final
        self.guesses += not final
        try:
            yield
        finally:
            self.finals -= final
            self.guesses -= not final


_load = Load()


async def carry_out(work: Transcribe | TranscribeUpload, loader: Loader, *, max_seconds: float) -> Written:
    """Raises SpeechError, and ProtocolError for a bad upload, or one of more than `max_seconds`.

    A guess raises Busy when its time is better spent on others.
    """
    options = _options(work, final=not isinstance(work, Transcribe) or work.final)
    async with transcriber(loader, work.settings.model, options) as engine:
        if isinstance(work, TranscribeUpload):
            done = await _transcribe_blocks(_decoded(work, max_seconds), VadOptions(), engine, options, work, loader)
            return replace(done, text=done.text.strip())
        with _load.counted(final=work.final):
            written = await _transcribe_turn(work, engine, options, loader)
            if work.before and echoes(written.text, work.before):
                alone = _options(replace(work, before=""), final=work.final)
                return await _transcribe_turn(work, engine, alone, loader)
            return written


def echoes(text: str, before: str) -> bool:
    """Whether a text has no words but some that were said right before. A model that hears none in a noise reads out
    its prompt: such a text is to be had without it, too."""
    said, again = ("".join(f" {key(word)}" for word in words(of)) + " " for of in (before, text))
    return again in said


async def _transcribe_turn(
    work: Transcribe, engine: Transcriber, options: TranscribeOptions, loader: Loader
) -> Written:
    if work.final and work.settings.names_speakers:
        return await _transcribe_blocks([work.samples], None, engine, options, work, loader)
    return await _transcribe_piece(work.samples, engine, options)


async def translate(work: Translate, loader: Loader) -> Written:
    """Its English and, where they are to be shown, its own words: heard side by side. Raises as `carry_out`."""
    source = work.source
    spoken = _careful(_asked(source or TranscriptionSettings()), final=work.final)
    # What the speaker's language is called upon for, a prompt and words to expect, would pull the English back.
    in_english = replace(spoken, task="translate", prompt=None, hotwords=None)
    failed: SpeechError | None = None
    with _load.counted(final=work.final):
        try:
            async with asyncio.TaskGroup() as both:
                english = both.create_task(_hear(work.samples, work.model, in_english, loader))
                own = both.create_task(_hear(work.samples, source.model, spoken, loader)) if source else None
        except* SpeechError as errors:
            failed = cast(SpeechError, errors.exceptions[0])
    if failed is not None:  # raised here: what leaves an except* is a group
        raise failed
    return replace(english.result(), source=own.result().text if own else "")


async def _hear(samples: Samples, model: str, options: TranscribeOptions, loader: Loader) -> Written:
    async with transcriber(loader, model, options) as engine:
        return await _transcribe_piece(samples, engine, options)


async def _transcribe_blocks(
    blocks: Iterable[Samples],
    vad: VadOptions | None,
    engine: Transcriber,
    options: TranscribeOptions,
    of: Transcribe | TranscribeUpload,
    loader: Loader,
) -> Written:
    async with AsyncExitStack() as stack:
        detector = await stack.enter_async_context(loader.detector())
        engines = voices = None
        met = Met()
        if of.settings.names_speakers:
            engines = await stack.enter_async_context(voice_engines(loader))
            if of.met.apart == engines.encoder.likeness.apart:
                met = of.met
            voices = await stack.enter_async_context(aclosing(engines.voices(ExpectedSpeakers(met=met.people))))
            options = replace(options, word_timestamps=True, without_timestamps=False)
        work = transcribe_samples(blocks, engine, options, detector, vad, voices)
        await stack.enter_async_context(aclosing(work))
        segments = [segment async for segment in work]
        spoken = None
        if engines and (who := await work.who_spoke()):
            apart = engines.encoder.likeness.apart
            spoken = WhoSaid(tuple(attributed(segments, who.turns)), tuple(who.people), apart, met.names)
    return replace(_written(segments, work.duration, work.language), spoken=spoken)


def _written(segments: list[Segment], seconds: float, language: str | None) -> Written:
    text = "".join(segment.text for segment in segments)
    logprobs = tuple(entry for segment in segments for entry in segment.logprobs)
    return Written(text, seconds, language, logprobs)


def _options(work: Transcribe | TranscribeUpload, *, final: bool) -> TranscribeOptions:
    before = work.before if isinstance(work, Transcribe) else ""
    return _careful(replace(_asked(work.settings, before), logprobs=work.logprobs), final=final)


def _asked(settings: TranscriptionSettings, before: str = "") -> TranscribeOptions:
    return TranscribeOptions(
        language=settings.language,
        languages=asked_languages(settings.languages or (), settings.language),
        prompt=" ".join(filter(None, (settings.prompt, before))) or None,
        hotwords=", ".join(settings.keywords or ()) or None,
        without_timestamps=True,
    )


def _careful(options: TranscribeOptions, *, final: bool) -> TranscribeOptions:
    """The final text gets the decoder's whole care; a guess is worth one quick pass."""
    return bounded(options if final else replace(options, beam_size=1, temperatures=(0.0,)))


async def _transcribe_piece(samples: Samples, transcriber: Transcriber, options: TranscribeOptions) -> Written:
    """Of one piece, at most 30 s: straight to the engine. The language is None where nothing was heard."""

    async def one() -> AsyncIterator[SpeechChunk]:
        yield SpeechChunk(samples, 0.0)

    segments: list[Segment] = []
    language = None
    async for transcript in transcriber.transcribe(one(), options):
        segments += transcript.segments
        language = transcript.language
    return _written(segments, len(samples) / RATE, language if segments else None)


def _decoded(work: TranscribeUpload, max_seconds: float) -> Iterator[Samples]:
    """Block by block: all samples take eight times the upload's size where that is G.711."""
    data = b"".join(map(decode_base64, work.audio))
    second = work.format.rate * (2 if work.format.type == "audio/pcm" else 1)
    if len(data) > max_seconds * second:
        raise ProtocolError(
            f"The audio is longer than {max_seconds:g} s: send it in parts", code="too_large", param="item"
        )
    resampler = Resampler(work.format.rate, RATE)
    for at in range(0, len(data), BLOCK_SECONDS * second):
        yield resampler.feed(decode(data[at : at + BLOCK_SECONDS * second], work.format)[0])
    yield resampler.finish()
