"""Who says what in a live session, with the real models: three people over several turns, each known again."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr

from speech_server.audio import decode
from tests.speech_server.realtime.live.test_run import COMPLETED, person
from tests.speech_server.realtime.stage import check_event
from tests.speech_server.routes.test_voices import assert_right
from tests.speech_server.voices import CONVERSATION
from tests.talking import RATE, Person, TalkServer, base64_of, plain, talk_server

pytestmark = [pytest.mark.anyio, pytest.mark.xdist_group("talk")]

SEGMENT = "conversation.item.input_audio_transcription.segment"
DIARIZE = "gpt-4o-transcribe-diarize"
PUSH_TO_TALK = {"type": "transcription", "audio": {"input": {"turn_detection": None}}}
TURNS = (0.0, 14.65, 18.7, 23.0)  # seconds: A, B and C speak in the first, then A and C, then B and A


def sound() -> bytes:
    samples = np.concatenate(list(decode.stream(CONVERSATION, decode.Limits(60))))
    resampled = soxr.resample(samples, 16_000, RATE)
    return (resampled * 32767).clip(-32768, 32767).astype("<i2").tobytes()


async def take_turns(someone: Person) -> list[dict[str, Any]]:
    """What was told of all turns, one after the other."""
    pcm = sound()
    for start, end in itertools.pairwise(TURNS):
        await someone.say(pcm[2 * round(start * RATE) : 2 * round(end * RATE)], frame_ms=500)
        await someone.send("input_audio_buffer.commit")
        await someone.until(COMPLETED)
    return [check_event(event) for event in someone.all(SEGMENT)]


async def test_each_sentence_is_whose_it_was_and_everybody_is_known_again(talk: TalkServer):
    async with person(talk.url, model=DIARIZE, intent="transcription", language="en") as someone:
        await someone.send("session.update", session=PUSH_TO_TALK)
        segments = await take_turns(someone)
        texts = someone.all(COMPLETED)
    assert_right([(segment["speaker"], segment["text"]) for segment in segments])
    assert {segment["speaker"] for segment in segments} == {"A", "B", "C"}
    for done, start, end in zip(texts, TURNS, TURNS[1:], strict=False):
        own = [segment for segment in segments if segment["item_id"] == done["item_id"]]
        assert plain(" ".join(segment["text"] for segment in own)) == plain(done["transcript"])
        times = [time for segment in own for time in (segment["start"], segment["end"])]
        assert times == sorted(times)
        assert 0 <= times[0] <= times[-1] <= end - start + 0.1


async def test_a_recording_in_a_message_has_speakers_too(talk: TalkServer):
    item = {"type": "message", "role": "user", "content": [{"type": "input_audio", "audio": base64_of(sound())}]}
    async with person(talk.url, model=DIARIZE, intent="transcription", language="en") as someone:
        await someone.send("conversation.item.create", item=item)
        await someone.until(COMPLETED)
        segments = [check_event(event) for event in someone.all(SEGMENT)]
    assert_right([(segment["speaker"], segment["text"]) for segment in segments])


async def test_another_model_names_nobody(talk: TalkServer):
    async with person(talk.url, model="gpt-4o-transcribe", intent="transcription", language="en") as someone:
        await someone.send("session.update", session=PUSH_TO_TALK)
        assert await take_turns(someone) == []


async def test_where_no_encoder_is_installed_the_session_says_so(tmp_path: Path):
    aliases = tmp_path / "aliases.json"
    aliases.write_text('{"pyannote/speaker-diarization-community-1": "nobody/nothing"}')
    with talk_server(MODEL_ALIASES_FILE=str(aliases)) as server:
        async with person(server.url, model=DIARIZE, intent="transcription") as someone:
            error = (await someone.until("error"))["error"]
    assert "'nobody/nothing' is not installed" in error["message"]
    assert error["param"] == "session"
