"""Audio in, segments out: decode, find the speech, transcribe. What routes, chat and realtime call."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Generic, TypeVar

from speech_server.engines.cores import core_count
from speech_server.engines.interfaces import (
    RATE,
    Samples,
    Segment,
    SpeechChunk,
    SpeechSpan,
    TranscribeOptions,
    Transcriber,
    VadOptions,
    VoiceDetector,
)

if TYPE_CHECKING:
    from speech_server.engines.whisper_chunks import Chunker

T = TypeVar("T")

# Decoding and voice detection: short calls, on threads of their own so that nothing slow is in front of them.
_pool = ThreadPoolExecutor(core_count() + 1, thread_name_prefix="decode")


class Transcription:
    """An async iterator of segments in order, each as soon as it is known. `aclose` stops all work.

    `language` is None until the first segment (and stays so for silence, unless it was given); `duration` counts
    the seconds of audio read so far, `done` those transcribed.
    """

    def __init__(
        self, chunker: Chunker, blocks: Iterable[Samples], transcriber: Transcriber, options: TranscribeOptions
    ) -> None:
        self.language = options.language
        self.language_probability = 1.0 if options.language else 0.0
        self.duration = 0.0
        self.done = 0.0
        self._chunker = chunker
        self._source = _Puller(_cut(chunker, blocks))
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
            self.duration = self._chunker.length / RATE
            for chunk in chunks:
                last, since = chunk.spans[-1] if chunk.spans else (0, chunk.offset)
                self._ends.append(since + (len(chunk.samples) - last) / RATE)
                yield chunk


def transcribe(
    source: Path | BinaryIO,
    transcriber: Transcriber,
    detector: VoiceDetector | None,
    options: TranscribeOptions,
    vad: VadOptions | None,
    *,
    pcm: bool = False,
    max_seconds: float | None = None,
) -> Transcription:
    """Transcribe a file of any container (`pcm`: raw s16le mono 16 kHz), the silence left out where `vad` is given.

    Iterating raises AudioUnreadable, InvalidRequest (no samples, unknown language) and Busy, before the first
    segment wherever the audio's beginning is sound.
    """
    from speech_server.audio import decode
    from speech_server.engines.whisper_chunks import Chunker

    blocks = decode.stream(source, pcm=pcm, max_seconds=max_seconds)
    return Transcription(Chunker(detector, vad), blocks, transcriber, options)


def transcribe_samples(
    samples: Samples,
    transcriber: Transcriber,
    options: TranscribeOptions,
    detector: VoiceDetector | None = None,
    vad: VadOptions | None = None,
) -> Transcription:
    """The same for samples at 16 kHz in memory: a turn of a conversation."""
    from speech_server.engines.whisper_chunks import Chunker

    return Transcription(Chunker(detector, vad), [samples], transcriber, options)


async def detect_speech(
    source: Path | BinaryIO,
    detector: VoiceDetector,
    options: VadOptions,
    *,
    pcm: bool = False,
    max_seconds: float | None = None,
) -> list[SpeechSpan]:
    """Where somebody speaks, in samples at 16 kHz."""
    from speech_server.audio import decode

    puller = _Puller(_find_speech(decode.stream(source, pcm=pcm, max_seconds=max_seconds), detector, options))
    spans: list[SpeechSpan] = []
    try:
        while (found := await puller.pull()) is not None:
            spans += found
    finally:
        await puller.close()
    return spans


def _cut(chunker: Chunker, blocks: Iterable[Samples]) -> Iterator[list[SpeechChunk]]:
    for block in blocks:
        yield list(chunker.feed(block))
    yield list(chunker.finish())


def _find_speech(blocks: Iterator[Samples], detector: VoiceDetector, options: VadOptions) -> Iterator[list[SpeechSpan]]:
    import numpy as np

    from speech_server.engines.silero_spans import FRAME, SpanFinder

    voice, finder, length = detector.stream(), SpanFinder(options), 0
    for block in blocks:
        length += len(block)
        yield list(finder.feed(voice.feed(block)))
    rest = voice.feed(np.zeros(FRAME - length % FRAME, np.float32))
    yield [*finder.feed(rest), *finder.finish(length)]


class _Puller(Generic[T]):
    """A blocking generator run step by step on the pool. One step at a time, and closed whatever happens."""

    def __init__(self, items: Iterator[T]) -> None:
        self._items = items
        self._lock = threading.Lock()
        self._closed = False

    async def pull(self) -> T | None:
        return await asyncio.wrap_future(_pool.submit(self._next))

    async def close(self) -> None:
        # Shielded: a cancelled task must not leave the file open.
        await asyncio.shield(asyncio.wrap_future(_pool.submit(self._close)))

    def _next(self) -> T | None:
        with self._lock:
            return None if self._closed else next(self._items, None)

    def _close(self) -> None:
        with self._lock:
            self._closed = True
            if isinstance(self._items, Generator):
                self._items.close()
