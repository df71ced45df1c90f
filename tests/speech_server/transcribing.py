"""Transcribing in tests, and comparing what was heard with what was said."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable

from speech_server.domain import ChunkTranscript, Samples, Segment, SpeechChunk
from speech_server.engines.interfaces import TranscribeOptions, Transcriber


def words_of(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


def text_of(segments: Iterable[Segment]) -> str:
    return "".join(segment.text for segment in segments).strip()


async def chunked(*chunks: SpeechChunk | Samples) -> AsyncIterator[SpeechChunk]:
    for chunk in chunks:
        yield chunk if isinstance(chunk, SpeechChunk) else SpeechChunk(chunk, 0.0)


async def hear(
    transcriber: Transcriber, *chunks: SpeechChunk | Samples, options: TranscribeOptions | None = None
) -> list[ChunkTranscript]:
    return [heard async for heard in transcriber.transcribe(chunked(*chunks), options or TranscribeOptions())]
