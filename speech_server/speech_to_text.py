"""Audio in, segments out: decode, find the speech, transcribe. What routes, chat and realtime call."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from speech_server import decoding
from speech_server.audio.pulling import Puller
from speech_server.domain import FRAME, RATE, Clip, Samples, Segment, SpeechChunk, SpeechSpan, VadOptions
from speech_server.engines.interfaces import TranscribeOptions, Transcriber, VoiceDetector

if TYPE_CHECKING:
    from speech_server.hearing.chunks import Chunker
    from speech_server.hearing.clip import Cut
    from speech_server.hearing.spans import VoiceStream
    from speech_server.hearing.speakers.listening import VoiceListener
    from speech_server.speakers.naming import WhoSpoke
    from speech_server.speakers.voices import Voices

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
        voices: Voices | None = None,
    ) -> None:
        options = bounded(options)
        self.language = options.language
        self.language_probability = 1.0 if options.language else 0.0
        self.duration = 0.0
        self.done = 0.0
        self._sections = sections
        self._source = source
        self._voices = voices
        self._ends: deque[float] = deque()  # of the chunks under way
        self._segments = self._run(transcriber, options)

    def __aiter__(self) -> Transcription:
        return self

    async def __anext__(self) -> Segment:
        return await anext(self._segments)

    async def who_spoke(self) -> WhoSpoke | None:
        """After the last segment; None where nobody wanted to know."""
        return await self._voices.who_spoke() if self._voices else None

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
            if self._voices:
                await self._voices.pass_on()
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
    voices: Voices | None = None,
    early: bool = False,
) -> Transcription:
    """Transcribe a file of any container (`pcm`: raw s16le mono 16 kHz), the silence left out where `vad` is given.
    `early`: somebody waits for the first words.

    Times are the recording's, also of a clip. `voices` needs a `detector`. Iterating raises
    AudioUnreadable, InvalidRequest (no samples, unknown language), RequestTooLarge and Busy, before the first segment
    wherever the audio's beginning is sound.
    """
    from speech_server.hearing.clip import Clipper, clipped

    sections = Sections(detector, vad, voices, early=early)
    clipper = Clipper(clip, round(clip.needed_from * RATE))
    chunks = decoding.read(
        source,
        lambda blocks: sections.chunks(clipped(blocks, clipper)),
        max_seconds=max_seconds,
        pcm=pcm,
        start=clip.needed_from - clip.offset,
    )
    return Transcription(sections, chunks, transcriber, options, voices)


def transcribe_samples(
    blocks: Iterable[Samples],
    transcriber: Transcriber,
    options: TranscribeOptions,
    detector: VoiceDetector | None = None,
    vad: VadOptions | None = None,
    voices: Voices | None = None,
) -> Transcription:
    """The same for samples at 16 kHz, which come block by block: what a conversation brings."""
    sections = Sections(detector, vad, voices)
    source = Puller(sections.chunks(blocks), decoding.ahead, threading.Event())
    return Transcription(sections, source, transcriber, options, voices)


class Sections:
    """The speech of one section of a recording after the other, each heard as if there were no other.

    `begin`: the second at which the first one begins; `length`: samples so far.
    """

    def __init__(
        self,
        detector: VoiceDetector | None,
        vad: VadOptions | None,
        voices: Voices | None = None,
        *,
        early: bool = False,
    ) -> None:
        self._detector = detector
        self._vad = vad
        self._voices = voices
        self._early = early
        self.begin = 0.0
        self.length = 0

    def chunks(self, parts: Iterable[Samples | Cut]) -> Iterator[list[SpeechChunk]]:
        from speech_server.hearing.clip import Cut

        section = None
        for part in parts:
            if isinstance(part, Cut):
                if section is None:
                    self.begin = part.position / RATE
                else:
                    yield section.finish()
                section = self._section(part.position)
            elif len(part):
                self.length += len(part)
                section = section or self._section(0)
                yield section.feed(part)
            else:
                yield []
        if section is not None:
            yield section.finish()

    def _section(self, begin: int) -> _Section:
        from speech_server.hearing.chunks import Chunker

        stream: VoiceStream | None = None
        listener: VoiceListener | None = None
        if self._detector and (self._vad or self._voices):
            stream = self._detector.stream()
        if stream and self._voices:
            stream = listener = self._voices.listener(stream, begin)
        is_filtered = stream is not None and self._vad is not None
        chunker = Chunker(stream if is_filtered else None, self._vad, begin, early=self._early)
        return _Section(chunker, listener, is_filtered)


class _Section:
    """The chunks of a section, and what its `listener` hears: through the chunker's own detector where it has one."""

    def __init__(self, chunker: Chunker, listener: VoiceListener | None, is_filtered: bool) -> None:
        self._chunker = chunker
        self._listener = listener
        self._is_filtered = is_filtered

    def feed(self, part: Samples) -> list[SpeechChunk]:
        if self._listener and not self._is_filtered:
            self._listener.feed(part)
        return list(self._chunker.feed(part))

    def finish(self) -> list[SpeechChunk]:
        chunks = list(self._chunker.finish())
        if self._listener:
            self._listener.finish()
        return chunks


def bounded(options: TranscribeOptions) -> TranscribeOptions:
    """Without the words that cannot reach the model anyway: the beginning of a prompt, the end of the hotwords."""
    prompt, hotwords = options.prompt or "", options.hotwords or ""
    if max(len(prompt), len(hotwords)) <= LONGEST_PROMPT:
        return options
    return replace(options, prompt=prompt[-LONGEST_PROMPT:] or None, hotwords=hotwords[:LONGEST_PROMPT] or None)


async def detect_speech(
    source: Path | BinaryIO,
    detector: VoiceDetector,
    options: VadOptions,
    *,
    max_seconds: float,
    pcm: bool = False,
) -> list[SpeechSpan]:
    """Where somebody speaks, in samples at 16 kHz."""
    finding = partial(_find_speech, detector=detector, options=options)
    puller = decoding.read(source, finding, max_seconds=max_seconds, pcm=pcm)
    spans: list[SpeechSpan] = []
    try:
        while (found := await puller.pull()) is not None:
            spans += found
    finally:
        await puller.close()
    return spans


def _find_speech(blocks: Iterator[Samples], detector: VoiceDetector, options: VadOptions) -> Iterator[list[SpeechSpan]]:
    import numpy as np

    from speech_server.hearing.spans import SpanFinder

    voice, finder, length = detector.stream(), SpanFinder(options), 0
    for block in blocks:
        length += len(block)
        yield list(finder.feed(voice.feed(block))) if len(block) else []
    rest = voice.feed(np.zeros(FRAME - length % FRAME, np.float32))
    yield [*finder.feed(rest), *finder.finish(length)]
