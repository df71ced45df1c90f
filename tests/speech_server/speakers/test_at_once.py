"""Who speaks, and who at once, with networks of WeSpeaker's and pyannote's shapes: tones are people."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import ClassVar

import numpy as np
import pytest

from speech_server.domain import RATE, Activity, Count, Samples, VadOptions
from speech_server.engines.interfaces import EngineArgs, TranscribeOptions
from speech_server.engines.pyannote import engine as pyannote
from speech_server.engines.silero.engine import Detector
from speech_server.engines.wespeaker import engine as wespeaker
from speech_server.engines.whisper.engine import WhisperTranscriber
from speech_server.errors import InvalidRequest
from speech_server.speakers.naming import KnownVoice, WhoSpoke
from speech_server.speakers.voices import ExpectedSpeakers, SceneVoices
from speech_server.speakers.who_speaks import VoiceEngines, who_speaks
from speech_server.speech_to_text import transcribe
from tests.speech_server.networks import HIGH, LOW, conversation, pyannote_folder, tone, wespeaker_folder
from tests.speech_server.speakers.test_who_speaks import as_file
from tests.speech_server.voices import voices_of

LONGEST = 120.0
SAID = [("A", 1.0, 21.0), ("B", 6.0, 9.0), ("B", 23.0, 31.0), ("A", 29.5, 34.0)]
SOUND = conversation(36, [({"A": LOW, "B": HIGH}[who], start, end) for who, start, end in SAID])


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory, detector: Detector) -> Iterator[VoiceEngines]:
    encoder = wespeaker.load(wespeaker_folder(tmp_path_factory.mktemp("wespeaker")), EngineArgs())
    segmenter = pyannote.load(pyannote_folder(tmp_path_factory.mktemp("pyannote")), EngineArgs())
    yield VoiceEngines(encoder, detector, segmenter)
    segmenter.close()
    encoder.close()


async def heard(engines: VoiceEngines, sound: Samples = SOUND, expected: ExpectedSpeakers | None = None) -> WhoSpoke:
    who, seconds = await who_speaks(as_file(sound), engines, expected or ExpectedSpeakers(), max_seconds=LONGEST)
    assert seconds == pytest.approx(len(sound) / RATE, abs=0.01)
    return who


def assert_said(who: WhoSpoke, said: list[tuple[str, float, float]]) -> None:
    assert [turn.speaker for turn in who.turns] == [name for name, *_ in said]
    for turn, (_, start, end) in zip(who.turns, said, strict=True):
        assert (turn.start, turn.end) == pytest.approx((start, end), abs=0.12)


@pytest.mark.anyio
async def test_whoever_speaks_at_once_has_a_turn_of_their_own(engines: VoiceEngines):
    who = await heard(engines)
    assert_said(who, SAID)
    seconds = {person.name: person.seconds for person in who.people}
    assert seconds == pytest.approx({"A": 24.5, "B": 11.0}, abs=0.3)


@pytest.mark.anyio
async def test_who_is_known_has_a_name(engines: VoiceEngines):
    (voice,) = await voices_of(engines.encoder, [tone(HIGH, 3)])
    who = await heard(engines, expected=ExpectedSpeakers(known=(KnownVoice("Anna", voice),)))
    assert_said(who, [("Anna" if name == "B" else name, start, end) for name, start, end in SAID])


@pytest.mark.anyio
async def test_the_number_of_people_can_be_said(engines: VoiceEngines):
    assert len((await heard(engines, expected=ExpectedSpeakers(Count(1, 1)))).people) == 1
    with pytest.raises(InvalidRequest, match="30 speakers are asked for"):
        await heard(engines, expected=ExpectedSpeakers(Count(30, 30)))


@pytest.mark.anyio
async def test_silence_has_nobody(engines: VoiceEngines):
    assert await heard(engines, np.zeros(12 * RATE, np.float32)) == WhoSpoke(engines.encoder.likeness)


@pytest.mark.anyio
async def test_many_recordings_at_once_are_each_their_own(engines: VoiceEngines):
    other = [("A", 0.5, 4.0), ("B", 3.0, 8.0)]
    sound = conversation(9, [({"A": HIGH, "B": LOW}[who], start, end) for who, start, end in other])
    found = await asyncio.gather(*(heard(engines, each) for each in (SOUND, sound) * 3))
    for who in found[0::2]:
        assert_said(who, SAID)
    for who in found[1::2]:
        assert_said(who, other)


@pytest.mark.anyio
@pytest.mark.parametrize("vad", [VadOptions(), None])
async def test_a_transcription_hears_them_too(
    transcriber: WhisperTranscriber, engines: VoiceEngines, vad: VadOptions | None
):
    voices = engines.voices(ExpectedSpeakers())
    options = TranscribeOptions(language="en", word_timestamps=True)
    heard = transcribe(as_file(SOUND), transcriber, engines.detector, options, vad, max_seconds=LONGEST, voices=voices)
    async with aclosing(heard), aclosing(voices):
        async for _ in heard:
            pass
        who = await heard.who_spoke()
    assert who
    assert_said(who, SAID)


@pytest.mark.anyio
async def test_giving_up_leaves_nothing(engines: VoiceEngines):
    before = asyncio.all_tasks()
    assert isinstance(engines.segmenter, pyannote.PyannoteSegmenter)
    done = engines.segmenter.batcher.works_done
    listening = asyncio.create_task(heard(engines, np.tile(SOUND, 3)))
    async with asyncio.timeout(30):
        while engines.segmenter.batcher.works_done == done:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)
    listening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listening
    assert (engines.segmenter.batcher.lanes, engines.segmenter.batcher.waiting) == (0, 0)
    assert asyncio.all_tasks() == before


class Broken:
    window, step, middle = 10 * RATE, 270, 495
    why: ClassVar = RuntimeError("out of memory")

    async def segment(self, windows: AsyncIterator[Samples]) -> AsyncIterator[Activity]:
        async for _ in windows:
            raise self.why
        yield np.empty((0, 3), bool)


@pytest.mark.anyio
async def test_a_segmentation_that_fails_is_heard_of(engines: VoiceEngines, detector: Detector):
    voices = SceneVoices(engines.encoder, Broken(), ExpectedSpeakers())  # type: ignore[arg-type]
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
