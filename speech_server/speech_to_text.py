"""Audio in, segments out: decode, find the speech, transcribe. What routes, chat and realtime call."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from contextlib import aclosing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from speech_server.audio.pulling import Puller
from speech_server.domain import RATE, Clip, Samples, Segment, SpeechChunk, SpeechSpan, VadOptions
from speech_server.engines.cores import core_count
from speech_server.engines.interfaces import TranscribeOptions, Transcriber, VoiceDetector
from speech_server.engines.queue.fair_queue import MUCH
from speech_server.engines.queue.standing import STANDING
from speech_server.errors import Busy
from speech_server.pools import Pool

if TYPE_CHECKING:
    from speech_server.hearing.chunks import Chunker
    from speech_server.hearing.clip import Cut

# Decoding and voice detection: steps of a tenth of a second where they can be, taken in turn by all requests. One of
# each is here at a time, far fewer than may wait.
_decoding = Pool("decode", core_count() + 1, waiting=1024)
_decoding_behind = Pool("decode-behind", 1, waiting=1024)  # for callers who hung up lately: much of it is for nothing

# Whisper uses the end of a prompt, 224 tokens at most with the hotwords; a token is rarely more than four letters, and
# tokenizing a megabyte takes half a second of the event loop.
LONGEST_PROMPT = 4_000  # characters

WHOLE = Clip()


class Transcription:
    """An async iterator of segments in order, each as soon as it is known. `aclose` stops all work.

    `language` is None until the first segment (and stays so for silence, unless it was given); `duration` counts
    the seconds of the clip read so far, `done` those transcribed.
    """

    def __init__(
        self,
        sections: Sections,
        source: Puller[list[SpeechChunk]],
        transcriber: Transcriber,
        options: TranscribeOptions,
    ) -> None:
        options = bounded(options)
        self.language = options.language
        self.language_probability = 1.0 if options.language else 0.0
        self.duration = 0.0
        self.done = 0.0
        self._sections = sections
        self._source = source
        self._ends: deque[float] = deque()  # of the chunks under way
        self._segments = self._run(transcriber, options)

    def __aiter__(self) -> Transcription:
        return self

    async def __anext__(self) -> Segment:
        return await anext(self._segments)

    async def aclose(self) -> None:
        await self._segments.aclose()
        await self._source.close()

    async def _run(self, transcriber: Transcriber, options: TranscribeOptions) -> AsyncGenerator[Segment, None]:
        try:
            async with aclosing(self._chunks()) as chunks, aclosing(transcriber.transcribe(chunks, options)) as heard:
                async for transcript in heard:
                    self.language = transcript.language
                    self.language_probability = transcript.language_probability
                    self.done = self._ends.popleft()
                    for segment in transcript.segments:
                        yield segment
            self.done = self.duration
        finally:
            await self._source.close()

    async def _chunks(self) -> AsyncGenerator[SpeechChunk, None]:
        while (chunks := await self._source.pull()) is not None:
            self.duration = self._sections.length / RATE
            for chunk in chunks:
                last, since = chunk.spans[-1] if chunk.spans else (0, chunk.offset)
                self._ends.append(since + (len(chunk.samples) - last) / RATE - self._sections.begin)
                yield chunk


def transcribe(
    source: Path | BinaryIO,
    transcriber: Transcriber,
    detector: VoiceDetector | None,
    options: TranscribeOptions,
    vad: VadOptions | None,
    *,
    max_seconds: float,
    pcm: bool = False,
    clip: Clip = WHOLE,
) -> Transcription:
    """Transcribe a file of any container (`pcm`: raw s16le mono 16 kHz), the silence left out where `vad` is given.

    Times are the recording's, also of a clip. Iterating raises AudioUnreadable, InvalidRequest (no samples, unknown
    language), RequestTooLarge and Busy, before the first segment wherever the audio's beginning is sound.
    """
    from speech_server.audio import decode
    from speech_server.audio.budget import Limits
    from speech_server.hearing.clip import Clipper, clipped

    sections, stop = Sections(detector, vad), threading.Event()
    clipper = Clipper(clip, round(clip.needed_from * RATE))
    blocks = decode.stream(source, Limits(max_seconds), stop, pcm=pcm, start=clip.needed_from - clip.offset)
    first = None if pcm else _vetting(source)
    chunks = Puller(sections.chunks(clipped(blocks, clipper)), _pool(), stop, first)
    return Transcription(sections, chunks, transcriber, options)


def transcribe_samples(
    blocks: Iterable[Samples],
    transcriber: Transcriber,
    options: TranscribeOptions,
    detector: VoiceDetector | None = None,
    vad: VadOptions | None = None,
) -> Transcription:
    """The same for samples at 16 kHz, which come block by block: what a conversation brings."""
    sections = Sections(detector, vad)
    return Transcription(sections, Puller(sections.chunks(blocks), _decoding, threading.Event()), transcriber, options)


class Sections:
    """The speech of one section of a recording after the other, each heard as if there were no other.

    `begin`: the second at which the first one begins; `length`: samples so far.
    """

    def __init__(self, detector: VoiceDetector | None, vad: VadOptions | None) -> None:
        self._detector = detector
        self._vad = vad
        self.begin = 0.0
        self.length = 0

    def chunks(self, parts: Iterable[Samples | Cut]) -> Iterator[list[SpeechChunk]]:
        from speech_server.hearing.clip import Cut

        chunker = None
        for part in parts:
            if isinstance(part, Cut):
                if chunker is None:
                    self.begin = part.position / RATE
                else:
                    yield list(chunker.finish())
                chunker = self._chunker(part.position)
            elif len(part):
                self.length += len(part)
                chunker = chunker or self._chunker(0)
                yield list(chunker.feed(part))
            else:
                yield []
        if chunker is not None:
            yield list(chunker.finish())

    def _chunker(self, begin: int) -> Chunker:
        from speech_server.hearing.chunks import Chunker

        return Chunker(self._detector.stream() if self._detector and self._vad else None, self._vad, begin)


def bounded(options: TranscribeOptions) -> TranscribeOptions:
    """Without the words that cannot reach the model anyway: the beginning of a prompt, the end of the hotwords."""
    prompt, hotwords = options.prompt or "", options.hotwords or ""
    if max(len(prompt), len(hotwords)) <= LONGEST_PROMPT:
        return options
    return replace(options, prompt=prompt[-LONGEST_PROMPT:] or None, hotwords=hotwords[:LONGEST_PROMPT] or None)


def warm_up() -> None:
    """Begins what the first file would wait for: worth calling while it is still on its way."""
    from speech_server.audio.vetting import warm

    warm()
    with suppress(Busy):
        _decoding_behind.submit(bool)  # its thread, while one can be had


async def detect_speech(
    source: Path | BinaryIO,
    detector: VoiceDetector,
    options: VadOptions,
    *,
    max_seconds: float,
    pcm: bool = False,
) -> list[SpeechSpan]:
    """Where somebody speaks, in samples at 16 kHz."""
    from speech_server.audio import decode
    from speech_server.audio.budget import Limits

    stop = threading.Event()
    blocks = decode.stream(source, Limits(max_seconds), stop, pcm=pcm)
    first = None if pcm else _vetting(source)
    puller = Puller(_find_speech(blocks, detector, options), _pool(), stop, first)
    spans: list[SpeechSpan] = []
    try:
        while (found := await puller.pull()) is not None:
            spans += found
    finally:
        await puller.close()
    return spans


def _pool() -> Pool:
    return _decoding_behind if STANDING.debt() > MUCH else _decoding


def _vetting(source: Path | BinaryIO) -> Callable[[], Awaitable[None]]:
    from speech_server.audio.vetting import vet

    return partial(vet, source)


def _find_speech(blocks: Iterator[Samples], detector: VoiceDetector, options: VadOptions) -> Iterator[list[SpeechSpan]]:
    import numpy as np

    from speech_server.domain import FRAME
    from speech_server.hearing.spans import SpanFinder

    voice, finder, length = detector.stream(), SpanFinder(options), 0
    for block in blocks:
        length += len(block)
        yield list(finder.feed(voice.feed(block))) if len(block) else []
    rest = voice.feed(np.zeros(FRAME - length % FRAME, np.float32))
    yield [*finder.feed(rest), *finder.finish(length)]
