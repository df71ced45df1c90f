"""Two transcribers that hear as one: the quick one what is in its languages, the other, which tells them, the rest."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace

from speech_server.domain import ChunkTranscript, SpeechChunk
from speech_server.engines.interfaces import LanguageTeller, TranscribeOptions, Transcriber


class ByLanguage:
    """The first chunk decides for all, as it does within one model."""

    def __init__(self, quick: Transcriber, broad: LanguageTeller) -> None:
        self.languages = quick.languages | broad.languages
        self._quick = quick
        self._broad = broad

    async def transcribe(
        self, chunks: AsyncIterator[SpeechChunk], options: TranscribeOptions
    ) -> AsyncGenerator[ChunkTranscript, None]:
        first = await anext(chunks, None)
        if first is None:
            return
        language, probability = await self._broad.tell_language(first)
        transcriber = self._quick if language in self._quick.languages else self._broad
        known = replace(options, language=language)
        async with aclosing(transcriber.transcribe(_again(first, chunks), known)) as transcripts:
            async for transcript in transcripts:
                yield replace(transcript, language_probability=probability)


async def _again(first: SpeechChunk, rest: AsyncIterator[SpeechChunk]) -> AsyncIterator[SpeechChunk]:
    yield first
    async for chunk in rest:
        yield chunk
