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
from speech_server.errors import Busy
from speech_server.pools import Pool

if TYPE_CHECKING:
    from speech_server.engines.whisper_chunks import Chunker

# Decoding and voice detection: steps of a tenth of a second where they can be, taken in turn by all requests. One of
# each is here at a time, far fewer than may wait.
_decoding = Pool("decode", core_count() + 1, waiting=1024)
# Waits for the process that opens a file first: threads that cost nothing.
_opening = Pool("opening", 8, waiting=1024)

# Whisper uses the end of a prompt, 224 tokens at most with the hotwords; a token is rarely more than four letters, and
# tokenizing a megabyte takes half a second of the event loop.
LONGEST_PROMPT = 4_000  # characters


class Transcription:
    """An async iterator of segments in order, each as soon as it is known. `aclose` stops all work.

    `language` is None until the first segment (and stays so for silence, unless it was given); `duration` counts
    the seconds of audio read so far, `done` those transcribed.
    """

    def __init__(
        self,
        chunker: Chunker,
        source: Puller[list[SpeechChunk]],
        transcriber: Transcriber,
        options: TranscribeOptions,
    ) -> None:
        options = bounded(options)
        self.language = options.language
        self.language_probability = 1.0 if options.language else 0.0
        self.duration = 0.0
        self.done = 0.0
        self._chunker = chunker
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
    max_seconds: float,
    pcm: bool = False,
) -> Transcription:
    """Transcribe a file of any container (`pcm`: raw s16le mono 16 kHz), the silence left out where `vad` is given.

    Iterating raises AudioUnreadable, InvalidRequest (no samples, unknown language), RequestTooLarge and Busy, before
    the first segment wherever the audio's beginning is sound.
    """
    from speech_server.audio import decode
    from speech_server.audio.budget import Limits
    from speech_server.engines.whisper_chunks import Chunker

    chunker, stop = Chunker(detector, vad), threading.Event()
    blocks = decode.stream(source, Limits(max_seconds), stop, pcm=pcm)
    first = None if pcm else _vetting(source, stop)
    return Transcription(chunker, Puller(_cut(chunker, blocks), _decoding, stop, first), transcriber, options)


def transcribe_samples(
    samples: Samples,
    transcriber: Transcriber,
    options: TranscribeOptions,
    detector: VoiceDetector | None = None,
    vad: VadOptions | None = None,
) -> Transcription:
    """The same for samples at 16 kHz in memory: a turn of a conversation."""
    from speech_server.engines.whisper_chunks import Chunker

    chunker = Chunker(detector, vad)
    return Transcription(chunker, Puller(_cut(chunker, [samples]), _decoding, threading.Event()), transcriber, options)


def bounded(options: TranscribeOptions) -> TranscribeOptions:
    """Without the words that cannot reach the model anyway: the beginning of a prompt, the end of the hotwords."""
    prompt, hotwords = options.prompt or "", options.hotwords or ""
    if max(len(prompt), len(hotwords)) <= LONGEST_PROMPT:
        return options
    return replace(options, prompt=prompt[-LONGEST_PROMPT:] or None, hotwords=hotwords[:LONGEST_PROMPT] or None)


def warm_up() -> None:
    """Begins what the first file would wait for: worth calling while it is still on its way."""
    from speech_server.audio.vetting import warm

    with suppress(Busy):
        _opening.submit(warm)


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
    first = None if pcm else _vetting(source, stop)
    puller = Puller(_find_speech(blocks, detector, options), _decoding, stop, first)
    spans: list[SpeechSpan] = []
    try:
        while (found := await puller.pull()) is not None:
            spans += found
    finally:
        await puller.close()
    return spans


def _vetting(source: Path | BinaryIO, stop: threading.Event) -> Callable[[], Awaitable[None]]:
    from speech_server.audio.vetting import vet

    return partial(_opening.run, vet, source, stop)


def _cut(chunker: Chunker, blocks: Iterable[Samples]) -> Iterator[list[SpeechChunk]]:
    for block in blocks:
        yield list(chunker.feed(block)) if len(block) else []
    yield list(chunker.finish())


def _find_speech(blocks: Iterator[Samples], detector: VoiceDetector, options: VadOptions) -> Iterator[list[SpeechSpan]]:
    import numpy as np

    from speech_server.engines.silero_spans import FRAME, SpanFinder

    voice, finder, length = detector.stream(), SpanFinder(options), 0
    for block in blocks:
        length += len(block)
        yield list(finder.feed(voice.feed(block))) if len(block) else []
    rest = voice.feed(np.zeros(FRAME - length % FRAME, np.float32))
    yield [*finder.feed(rest), *finder.finish(length)]
