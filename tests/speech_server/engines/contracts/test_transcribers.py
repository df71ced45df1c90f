"""What every transcriber keeps to: real Whisper, a tiny Parakeet, the example engine."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from speech_server.audio import decode
from speech_server.domain import RATE, ChunkTranscript, Samples, Segment, SpeechChunk
from speech_server.engines.interfaces import TranscribeOptions
from speech_server.engines.parakeet import engine as parakeet
from speech_server.engines.parakeet.files import INT8, VOCABULARY
from speech_server.engines.whisper import engine as whisper
from speech_server.errors import InvalidRequest
from tests.conftest import WHISPER
from tests.speech_server.conftest import ENGLISH, ENGLISH_WORDS, model_folder
from tests.speech_server.engines.contracts.subjects import Make, Subject
from tests.speech_server.engines.examples import transcriber as example
from tests.speech_server.engines.parakeet_maker import make_parakeet, tones
from tests.speech_server.transcribing import chunked, hear, text_of, words_of

pytestmark = pytest.mark.anyio

WORDS = TranscribeOptions(word_timestamps=True, language="en")
UNKNOWN = "klingon"


@dataclass
class TranscriberSubject(Subject):
    """`sound` is a recording of which it is known what it hears there."""

    sound: Samples = field(default_factory=lambda: tones(500))
    text: str = ""
    translates: bool = False

    def ask(self, engine: Any) -> AsyncGenerator[ChunkTranscript, None]:
        return engine.transcribe(chunked(*[self.sound] * 8), WORDS)


def _whisper(folder: Path) -> Subject:
    clip = np.concatenate(list(decode.stream(ENGLISH, decode.Limits(60))))
    files = ("model.bin", "tokenizer.json")
    return TranscriberSubject("whisper", whisper.load, model_folder(WHISPER), files, clip, ENGLISH_WORDS, True)


def _parakeet(folder: Path) -> Subject:
    files = (*INT8, VOCABULARY)
    sound = tones(500, 1500, 4000)
    return TranscriberSubject("parakeet", parakeet.load, make_parakeet(folder), files, sound, "alpha beta gamma")


def _example(folder: Path) -> Subject:
    return TranscriberSubject("example", example.load, folder, text="sound")


CASES: dict[str, Make] = {"whisper": _whisper, "parakeet": _parakeet, "example": _example}


def said(segments: tuple[Segment, ...]) -> str:
    return words_of(text_of(segments))


async def test_it_hears_what_is_said_and_tells_the_language_it_was_given(subject: TranscriberSubject):
    (heard,) = await hear(subject.engine, subject.sound, options=TranscribeOptions(language="en"))
    assert said(heard.segments) == subject.text
    assert (heard.language, heard.language_probability) == ("en", 1.0)


async def test_nothing_is_too_short_or_too_quiet_for_it(subject: TranscriberSubject):
    """What was no speech is left out before; a model may still take silence for a word."""
    hush = [np.zeros(samples, np.float32) for samples in (0, 1, 100, 10 * RATE)]
    heard = await hear(subject.engine, *hush, options=TranscribeOptions(language="en"))
    assert len(heard) == 4
    assert all(len(said(transcript.segments).split()) <= 1 for transcript in heard)


async def test_there_is_one_transcript_for_each_chunk_in_their_order(subject: TranscriberSubject):
    chunks = [SpeechChunk(subject.sound, 100.0 * place) for place in range(4)]
    heard = await hear(subject.engine, *chunks, options=TranscribeOptions(language="en"))
    assert [int(transcript.segments[0].start // 100) for transcript in heard] == list(range(4))
    assert await hear(subject.engine) == []


async def test_segments_begin_with_a_space_and_have_times_inside_the_chunk(subject: TranscriberSubject):
    (heard,) = await hear(subject.engine, SpeechChunk(subject.sound, 100.0), options=TranscribeOptions(language="en"))
    times = [time for segment in heard.segments for time in (segment.start, segment.end)]
    assert times == sorted(times)
    assert 100 <= times[0] < times[-1] <= 100.001 + len(subject.sound) / RATE
    assert all(segment.text.startswith(" ") and not segment.words for segment in heard.segments)


async def test_words_make_up_the_text_and_lie_within_their_segment(subject: TranscriberSubject):
    (heard,) = await hear(subject.engine, SpeechChunk(subject.sound, 7.0), options=WORDS)
    for segment in heard.segments:
        assert "".join(word.word for word in segment.words) == segment.text
        assert (segment.words[0].start, segment.words[-1].end) == (segment.start, segment.end)
    words = [word for segment in heard.segments for word in segment.words]
    assert all(word.start <= word.end and 0 < word.probability <= 1 for word in words)
    assert all(one.end <= other.start + 0.01 for one, other in pairwise(words))


async def test_times_jump_over_silence_that_was_cut_out(subject: TranscriberSubject):
    seam = len(subject.sound)
    chunk = SpeechChunk(np.concatenate((subject.sound, subject.sound)), 10.0, ((0, 10.0), (seam, 70.0)))
    (heard,) = await hear(subject.engine, chunk, options=TranscribeOptions(language="en"))
    assert 10 <= heard.segments[0].start < 10 + seam / RATE
    assert 70 < heard.segments[-1].end <= 70.001 + seam / RATE


async def test_without_timestamps_there_is_one_segment(subject: TranscriberSubject):
    options = TranscribeOptions(without_timestamps=True, language="en")
    (heard,) = await hear(subject.engine, subject.sound, options=options)
    assert len(heard.segments) == 1
    assert said(heard.segments) == subject.text


async def test_logprobs_are_given_when_asked_for_and_belong_to_the_text(subject: TranscriberSubject):
    (plain,) = await hear(subject.engine, subject.sound, options=TranscribeOptions(language="en"))
    assert not any(segment.logprobs for segment in plain.segments)
    (heard,) = await hear(subject.engine, subject.sound, options=TranscribeOptions(language="en", logprobs=True))
    for segment in heard.segments:
        assert "".join(entry.token for entry in segment.logprobs) == segment.text
        assert all(entry.logprob <= 0 and math.isfinite(entry.logprob) for entry in segment.logprobs)


async def test_what_means_nothing_to_it_is_ignored(subject: TranscriberSubject):
    options = TranscribeOptions(
        language="en", prompt="A prompt.", hotwords="hot, words", temperatures=(0.0, 0.2), beam_size=1
    )
    (heard,) = await hear(subject.engine, subject.sound, options=options)
    assert said(heard.segments) == subject.text


async def test_a_language_or_a_task_it_does_not_know_is_refused_before_a_chunk_is_taken(subject: TranscriberSubject):
    async def untouched() -> AsyncIterator[SpeechChunk]:
        pytest.fail("it took a chunk")
        yield

    unknown = [TranscribeOptions(language=UNKNOWN)]
    unknown += [] if subject.translates else [TranscribeOptions(task="translate")]
    for options in unknown:
        with pytest.raises(InvalidRequest) as refused:
            await anext(subject.engine.transcribe(untouched(), options))
        assert refused.value.param in ("language", "model")
    assert UNKNOWN not in subject.engine.languages
    assert "en" in subject.engine.languages


async def test_company_changes_no_word(subject: TranscriberSubject):
    sound = subject.sound
    clips = [sound, sound[: len(sound) * 2 // 3], np.concatenate((sound, np.zeros(RATE, np.float32)))]
    options = TranscribeOptions(language="en")
    alone = [said((await hear(subject.engine, clip, options=options))[0].segments) for clip in clips]
    together = await asyncio.gather(*(hear(subject.engine, clip, options=options) for clip in clips * 2))
    assert [said(transcripts[0].segments) for transcripts in together] == alone * 2


async def test_a_source_that_fails_fails_the_request(subject: TranscriberSubject):
    async def broken() -> AsyncIterator[SpeechChunk]:
        yield SpeechChunk(subject.sound, 0.0)
        raise InvalidRequest("the rest is missing")

    with pytest.raises(InvalidRequest, match="the rest is missing"):
        [heard async for heard in subject.engine.transcribe(broken(), TranscribeOptions(language="en"))]
    assert subject.engine.batcher.lanes == 0
