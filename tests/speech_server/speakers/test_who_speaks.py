"""Who speaks when, with the real models: a conversation whose truth is known, known voices, one person alone."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import aclosing
from itertools import pairwise

import numpy as np
import pytest

from speech_server.audio import decode
from speech_server.domain import RATE, Count, Embeddings, Samples, SpeakerTurn, VadOptions
from speech_server.engines.interfaces import TranscribeOptions
from speech_server.engines.silero.engine import Detector
from speech_server.engines.wespeaker.engine import WeSpeaker
from speech_server.engines.whisper.engine import WhisperTranscriber
from speech_server.errors import AudioUnreadable, InvalidRequest, RequestTooLarge
from speech_server.hearing.speakers.attribution import attributed
from speech_server.speakers.naming import KnownVoice, WhoSpoke
from speech_server.speakers.voice_print import embedding_of
from speech_server.speakers.voices import ExpectedSpeakers, PhraseVoices
from speech_server.speakers.who_speaks import VoiceEngines, who_speaks
from speech_server.speech_to_text import transcribe
from tests.sound import wav
from tests.speech_server.conftest import ENGLISH
from tests.speech_server.transcribing import words_of
from tests.speech_server.voices import CONVERSATION, SAID, TRUTH

SOUND = np.concatenate(list(decode.stream(CONVERSATION, decode.Limits(60))))
LONGEST = 60.0


def as_file(samples: Samples) -> io.BytesIO:
    return io.BytesIO(wav((samples * 32767).astype("<i2").tobytes()))


async def heard(
    encoder: WeSpeaker, detector: Detector, sound: Samples = SOUND, expected: ExpectedSpeakers | None = None
) -> WhoSpoke:
    engines = VoiceEngines(encoder, detector)
    who, _ = await who_speaks(as_file(sound), engines, expected or ExpectedSpeakers(), max_seconds=LONGEST)
    return who


def shared(one: SpeakerTurn, other: SpeakerTurn) -> float:
    return max(0.0, min(one.end, other.end) - max(one.start, other.start))


@pytest.mark.anyio
async def test_the_truth_is_found(encoder: WeSpeaker, detector: Detector):
    who = await heard(encoder, detector)
    assert [person.name for person in who.people] == ["A", "B", "C"]
    for truth in TRUTH:
        right = sum(shared(truth, turn) for turn in who.turns if turn.speaker == truth.speaker)
        assert right > 0.85 * (truth.end - truth.start), (truth, who.turns)
    wrong = sum(shared(t, turn) for t in TRUTH for turn in who.turns if turn.speaker != t.speaker)
    assert wrong < 0.5


@pytest.mark.anyio
async def test_turns_are_in_order_and_nobody_interrupts(encoder: WeSpeaker, detector: Detector):
    turns = (await heard(encoder, detector)).turns
    assert all(turn.start < turn.end for turn in turns)
    assert all(one.end <= next_.start for one, next_ in pairwise(turns))


@pytest.mark.anyio
@pytest.mark.parametrize("count", [1, 2, 3, 4])
async def test_a_known_count_is_kept(encoder: WeSpeaker, detector: Detector, count: int):
    who = await heard(encoder, detector, expected=ExpectedSpeakers(Count(count, count)))
    assert len(who.people) == count


@pytest.mark.anyio
async def test_more_people_than_were_heard_is_refused(encoder: WeSpeaker, detector: Detector):
    with pytest.raises(InvalidRequest, match="30 speakers are asked for"):
        await heard(encoder, detector, expected=ExpectedSpeakers(Count(30, 30)))


@pytest.mark.anyio
async def test_who_is_known_has_a_name_and_the_others_letters(encoder: WeSpeaker, detector: Detector):
    grandmother = SOUND[round(TRUTH[2].start * RATE) : round(TRUTH[2].end * RATE)]
    voice, spoken, seconds = await embedding_of(as_file(grandmother), encoder, detector, max_seconds=LONGEST)
    assert seconds == pytest.approx(len(grandmother) / RATE, abs=0.01)
    assert spoken > 0.8 * seconds
    nobody = np.eye(len(voice), dtype=np.float32)[0]
    known = (KnownVoice("Nobody", nobody), KnownVoice("George", voice))
    who = await heard(encoder, detector, expected=ExpectedSpeakers(known=known))
    assert [person.name for person in who.people] == ["A", "B", "George"]


@pytest.mark.anyio
async def test_a_letter_that_is_a_name_is_taken(encoder: WeSpeaker, detector: Detector):
    first = SOUND[round(TRUTH[1].start * RATE) : round(TRUTH[1].end * RATE)]
    voice, *_ = await embedding_of(as_file(first), encoder, detector, max_seconds=LONGEST)
    who = await heard(encoder, detector, expected=ExpectedSpeakers(known=(KnownVoice("A", voice),)))
    assert [person.name for person in who.people] == ["B", "A", "C"]


@pytest.mark.anyio
async def test_nor_is_one_given_that_is_the_name_of_somebody_who_is_not_heard(encoder: WeSpeaker, detector: Detector):
    nobody = KnownVoice("A", np.eye(192, dtype=np.float32)[0])
    who = await heard(encoder, detector, expected=ExpectedSpeakers(known=(nobody,)))
    assert [person.name for person in who.people] == ["B", "C", "D"]


@pytest.mark.anyio
async def test_one_person_is_one(encoder: WeSpeaker, detector: Detector):
    with ENGLISH.open("rb") as file:
        who, seconds = await who_speaks(file, VoiceEngines(encoder, detector), ExpectedSpeakers(), max_seconds=LONGEST)
    assert [person.name for person in who.people] == ["A"]
    assert seconds == pytest.approx(5.3, abs=0.2)


@pytest.mark.anyio
async def test_silence_has_nobody(encoder: WeSpeaker, detector: Detector):
    silence = np.zeros(3 * RATE, np.float32)
    assert await heard(encoder, detector, silence) == WhoSpoke(encoder.likeness)


@pytest.mark.anyio
async def test_what_is_no_sound_is_refused(encoder: WeSpeaker, detector: Detector):
    engines = VoiceEngines(encoder, detector)
    with pytest.raises(AudioUnreadable):
        await who_speaks(io.BytesIO(b"no sound"), engines, ExpectedSpeakers(), max_seconds=LONGEST)
    with pytest.raises(RequestTooLarge):
        await who_speaks(as_file(SOUND), engines, ExpectedSpeakers(), max_seconds=5)


@pytest.mark.anyio
async def test_giving_up_leaves_nothing(encoder: WeSpeaker, detector: Detector):
    before = asyncio.all_tasks()
    listening = asyncio.create_task(heard(encoder, detector, np.tile(SOUND, 2)[: round(LONGEST * RATE) - RATE]))
    async with asyncio.timeout(30):
        while not encoder.batcher.works_done:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)
    listening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listening
    assert encoder.batcher.lanes == 0
    assert asyncio.all_tasks() == before


@pytest.mark.anyio
@pytest.mark.parametrize("vad", [VadOptions(), None])
async def test_each_sentence_of_a_transcript_is_whose_it_was(
    transcriber: WhisperTranscriber, encoder: WeSpeaker, detector: Detector, vad: VadOptions | None
):
    options = TranscribeOptions(word_timestamps=True, language="en")
    voices = PhraseVoices(encoder, ExpectedSpeakers())
    heard = transcribe(as_file(SOUND), transcriber, detector, options, vad, max_seconds=LONGEST, voices=voices)
    async with aclosing(heard), aclosing(voices):
        segments = [segment async for segment in heard]
        who = await heard.who_spoke()
    assert who
    told: dict[str | None, str] = {}
    for segment in attributed(segments, who.turns):
        told[segment.speaker] = told.get(segment.speaker, "") + " " + segment.text
    for turn, text in zip(TRUTH, SAID, strict=True):
        found = words_of(told[turn.speaker]).split()
        assert sum(word in found for word in text.split()) >= len(text.split()) - 1, (text, told)


class Broken:
    window = step = 24_000

    async def embed(self, voices: AsyncIterator[object]) -> AsyncIterator[Embeddings]:
        async for _ in voices:
            raise RuntimeError("out of memory")
        yield np.empty((0, 192), np.float32)


@pytest.mark.anyio
async def test_an_encoder_that_fails_is_heard_of(detector: Detector):
    voices = PhraseVoices(Broken(), ExpectedSpeakers())  # type: ignore[arg-type]
    listener = voices.listener(detector.stream(), 0)

    async def hear() -> None:
        for _ in range(10):  # more than wait in line
            listener.feed(SOUND)
            await voices.pass_on()
        await voices.who_spoke()

    async with asyncio.timeout(60):
        with pytest.raises(RuntimeError, match="out of memory"):
            await hear()
    await voices.aclose()
