"""A live session on a server where a turn model is installed, whose network takes for over what has lasted four
seconds: only such a turn ends before the silence that would end it anyway."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator

import httpx
import pytest

from speech_server.models.disk.cache import Cache
from tests.conftest import PIPER, WHISPER
from tests.speech_server.models.conftest import install
from tests.speech_server.networks import smart_turn_folder
from tests.speech_server.realtime.live.test_run import COMPLETED, person
from tests.talking import RATE, Person, TalkServer, nearly, plain, spoken, talk_server

pytestmark = [pytest.mark.anyio, pytest.mark.xdist_group("smart_turn")]

SMART_TURN = "pipecat-ai/smart-turn-v3"
STARTED, STOPPED = "input_audio_buffer.speech_started", "input_audio_buffer.speech_stopped"
# Of eagerness low: asked after 0.4 s, over after 1.2 s by silence alone, after 3.6 s where the answer is no.
LOW = {"type": "transcription", "audio": {"input": {"turn_detection": {"type": "semantic_vad", "eagerness": "low"}}}}
SHORT = "Please tell me what time it is."
LONG = "The quick brown fox jumps over the lazy dog and runs across the field to the little house by the river."


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TalkServer]:
    cache = Cache(tmp_path_factory.mktemp("hub"))
    install(cache, SMART_TURN, smart_turn_folder)
    with talk_server(PRELOAD_MODELS=f"{WHISPER},{PIPER}", MODEL_READ_CACHES=str(cache.root)) as server:
        yield server


def silence(seconds: float) -> bytes:
    return bytes(2 * round(seconds * RATE))


async def judged(url: str) -> int:
    """How many pauses so far, in all sessions."""
    async with httpx.AsyncClient(base_url=url) as client:
        metrics = (await client.get("/metrics")).text
    found = re.search(rf'^speech_batch_works_total{{model="{SMART_TURN}"}} (\S+)$', metrics, re.MULTILINE)
    return int(float(found[1])) if found else 0


async def say_and_pause(someone: Person, url: str, speech: bytes) -> None:
    """Until the pause after it has been judged."""
    before = await judged(url)
    await someone.say(speech + silence(0.7), frame_ms=100)
    async with asyncio.timeout(40):
        while await judged(url) == before:
            pass


async def test_a_turn_that_is_over_ends_before_the_silence_that_would_end_it(server: TalkServer):
    speech = await asyncio.to_thread(spoken, server.url, LONG)
    assert len(speech) > 5 * 2 * RATE
    async with person(server.url, model="whisper-1", intent="transcription", language="en") as someone:
        await someone.send("session.update", session=LOW)
        await say_and_pause(someone, server.url, speech)
        done = await someone.until(COMPLETED)  # no more audio comes
    assert plain(done["transcript"]) == nearly(LONG)


async def test_a_turn_that_is_not_over_waits_on(server: TalkServer):
    short, long = await asyncio.gather(*(asyncio.to_thread(spoken, server.url, text) for text in (SHORT, LONG)))
    async with person(server.url, model="whisper-1", intent="transcription", language="en") as someone:
        await someone.send("session.update", session=LOW)
        await say_and_pause(someone, server.url, short[: 2 * 3 * RATE])
        await someone.say(silence(1.5), frame_ms=100)
        await say_and_pause(someone, server.url, long)
        await someone.until(COMPLETED)
    assert [len(someone.all(kind)) for kind in (STARTED, STOPPED)] == [1, 1]


async def test_the_model_is_listed_and_stays_in_memory_while_somebody_may_need_it(server: TalkServer):
    async with httpx.AsyncClient(base_url=server.url) as client:
        models = (await client.get("/v1/models", params={"task": "turn-detection"})).json()["data"]
        assert {SMART_TURN, "smart-turn"} == {model["id"] for model in models}
        async with person(server.url, model="whisper-1", intent="transcription") as someone:
            await someone.send("session.update", session=LOW)
            await someone.until("session.updated")
            held = f'speech_model_references{{model="{SMART_TURN}"}} 1.0'
            async with asyncio.timeout(40):
                while held not in (await client.get("/metrics")).text:
                    pass
