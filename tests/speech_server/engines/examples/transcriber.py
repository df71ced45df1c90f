"""The smallest transcriber: all that an engine has to do, and what to begin a new one with.

It hears a sound and calls it one, in whatever language. What a real one does instead is in `_step`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path

import numpy as np

from speech_server.domain import RATE, ChunkTranscript, Segment, SpeechChunk, TokenLogprob, Word
from speech_server.engines.interfaces import EngineArgs, TranscribeOptions
from speech_server.engines.queue.batching import Batcher
from speech_server.engines.queue.fair_queue import Work
from speech_server.engines.queue.in_order import in_order
from speech_server.errors import InvalidRequest

Turn = Work[tuple[SpeechChunk, TranscribeOptions], ChunkTranscript]


class Example:
    languages = frozenset({"en"})
    memory_bytes = 1

    def __init__(self, args: EngineArgs) -> None:
        most = int(args.extra.get("max_requests", 128))
        self.batcher: Batcher[tuple[SpeechChunk, TranscribeOptions], ChunkTranscript] = Batcher(
            self._step, name="example", workers=1, max_batch=8, max_lanes=most
        )

    def close(self) -> None:
        self.batcher.close()

    async def transcribe(
        self, chunks: AsyncIterator[SpeechChunk], options: TranscribeOptions
    ) -> AsyncGenerator[ChunkTranscript, None]:
        if options.task == "translate" or options.language not in (None, "en"):
            raise InvalidRequest("the example knows one language", param="language")
        works = (((chunk, options), len(chunk.samples) / RATE, None) async for chunk in chunks)
        with self.batcher.lane() as lane:
            async with aclosing(in_order(lane, works, ahead=3)) as transcripts:
                async for transcript in transcripts:
                    yield transcript

    def _step(self, batch: list[Turn]) -> None:
        """On a thread of the batcher's."""
        for work in batch:
            chunk, options = work.payload
            loud = np.flatnonzero(np.abs(chunk.samples) > 0.01) / RATE
            segments = (_segment(chunk, options, loud[0], loud[-1]),) if len(loud) else ()
            work.future.set_result(ChunkTranscript(segments, "en", 1.0))


def _segment(chunk: SpeechChunk, options: TranscribeOptions, start: float, end: float) -> Segment:
    start, end = chunk.time(start), chunk.time(end, end=True)
    words = (Word(start, end, " sound", 1.0),) if options.word_timestamps else ()
    logprobs = (TokenLogprob(" sound", 0.0),) if options.logprobs else ()
    return Segment(start, end, " sound", words=words, logprobs=logprobs)


def load(folder: Path, args: EngineArgs) -> Example:
    return Example(args)
