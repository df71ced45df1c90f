"""The smallest transcriber: it hears a sound and calls it one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import numpy as np

from speech_server.domain import RATE, ChunkTranscript, Segment, SpeechChunk, TokenLogprob, Word
from speech_server.engines.asked import check_heard
from speech_server.engines.interfaces import EngineArgs, TranscribeOptions
from speech_server.engines.queue.engine import QueuedEngine
from speech_server.engines.queue.fair_queue import Work
from speech_server.errors import InvalidRequest

Asked = tuple[SpeechChunk, TranscribeOptions]


class Example(QueuedEngine[Asked, ChunkTranscript]):
    languages = frozenset({"en"})
    memory_bytes = 1

    def transcribe(
        self, chunks: AsyncIterator[SpeechChunk], options: TranscribeOptions
    ) -> AsyncGenerator[ChunkTranscript, None]:
        check_heard(options.language, self.languages)
        if options.task == "translate":
            raise InvalidRequest("the example does not translate", param="model")
        return self._results(((chunk, options), len(chunk.samples) / RATE, None) async for chunk in chunks)

    def _step(self, batch: list[Work[Asked, ChunkTranscript]]) -> None:
        for work in batch:
            chunk, options = work.payload
            segments = []
            if len(loud := np.flatnonzero(np.abs(chunk.samples) > 0.01) / RATE):
                start, end = chunk.time(loud[0]), chunk.time(loud[-1], end=True)
                words = (Word(start, end, " sound", 1.0),) if options.word_timestamps else ()
                logprobs = (TokenLogprob(" sound", 0.0),) if options.logprobs else ()
                segments.append(Segment(start, end, " sound", words=words, logprobs=logprobs))
            work.future.set_result(ChunkTranscript(tuple(segments), "en", 1.0))


def load(folder: Path, args: EngineArgs) -> Example:
    return Example("example", args, max_batch=8)
