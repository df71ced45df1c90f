"""Realtime sessions against a real server, through the official openai client."""

from __future__ import annotations

import asyncio
import base64
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from openai import AsyncOpenAI

from speech_server.audio import g711
from tests.conftest import PIPER
from tests.sound import wav
from tests.speech_server.realtime.conftest import QUESTION
from tests.stand_in_llm import Reply
from tests.talking import RATE, SILENCE, Person, TalkServer, base64_of, nearly, plain, spoken, understood

pytestmark = [pytest.mark.anyio, pytest.mark.xdist_group("talk")]

DELTA = "conversation.item.input_audio_transcription.delta"
COMPLETED = "conversation.item.input_audio_transcription.completed"


@asynccontextmanager
async def person(url: str, *, model: str = "some-llm", api_key: str = "none", **query: str) -> AsyncIterator[Person]:
    async with (
        AsyncOpenAI(api_key=api_key, base_url=f"{url}/v1") as client,
        client.realtime.connect(model=model, extra_query=query) as connection,
    ):
        someone = Person(connection)
        await someone.until("session.created")
        yield someone


def speaks(**more: Any) -> dict[str, Any]:
    return {"type": "realtime", "audio": {"output": {"model": PIPER, "voice": "joe", **more}}}


async def test_spoken_words_come_back_as_text(talk: TalkServer):
    text = "I do not know the answer. Please ask somebody else about it."
    speech = await asyncio.to_thread(spoken, talk.url, text)
    async with person(talk.url, model="whisper-1", intent="transcription", language="en") as someone:
        saying = asyncio.create_task(someone.say(speech + SILENCE, pace=1.0))
        done = await someone.until(COMPLETED)
        await saying
    assert plain(done["transcript"]) == nearly(text)
    assert plain("".join(event["delta"] for event in someone.all(DELTA))) == plain(done["transcript"])
    order = [name for name in someone.names if name not in (DELTA, "conversation.item.added")]
    assert order == [
        "session.created",
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        COMPLETED,
    ]
    end = someone.all("input_audio_buffer.speech_stopped")[0]["audio_end_ms"]
    spoken_ms = np.flatnonzero(np.abs(np.frombuffer(speech, np.int16)) > 300)[-1] / RATE * 1000
    assert abs(end - spoken_ms) < 200, "speech ends where it ends, not where the silence does"


async def test_words_appear_while_the_person_still_speaks(talk: TalkServer):
    sentence = await asyncio.to_thread(spoken, talk.url, "The quick brown fox jumps over the lazy dog, and")
    loud = np.flatnonzero(np.abs(np.frombuffer(sentence, np.int16)) > 300)
    sentence = sentence[2 * loud[0] : 2 * loud[-1]]
    async with person(talk.url, model="whisper-1", intent="transcription", language="en") as someone:

        async def go_on() -> None:
            while True:
                await someone.say(sentence, pace=1.0)

        speaking = asyncio.create_task(go_on())
        delta = await someone.until(DELTA)
        speaking.cancel()
        await asyncio.gather(speaking, return_exceptions=True)
        assert set(plain(delta["delta"]).split()) & {"the", "quick", "brown", "fox", "jumps"}
        assert "input_audio_buffer.speech_stopped" not in someone.names


async def test_a_question_is_answered_aloud(talk: TalkServer, question: bytes):
    answer = "I believe that it is Paris. You can see a very tall tower there."
    talk.answer(answer)
    async with person(talk.url) as someone:
        await someone.send("session.update", session=speaks() | {"instructions": "Be brief."})
        await someone.say(question)
        done = await someone.until("response.done")
    system, asked = talk.asked["messages"]
    assert (system["content"], plain(asked["content"])) == ("Be brief.", nearly(QUESTION))
    assert talk.llm.requests[-1][0]["Authorization"] == "Bearer llm-key"
    assert talk.asked["model"] == "some-llm"
    pcm = b"".join(base64.b64decode(event["delta"]) for event in someone.all("response.output_audio.delta"))
    assert understood(talk.url, wav(pcm, RATE)) == nearly(answer)
    assert someone.all("response.output_audio_transcript.done")[0]["transcript"] == answer
    assert done["response"]["status"] == "completed"
    assert done["response"]["usage"]["output_tokens"] == len(answer.split())


async def test_the_answer_is_spoken_while_it_is_still_being_written(talk: TalkServer, question: bytes):
    gate = threading.Event()
    talk.answer(Reply("The first sentence is this one. The second", held=" comes late.", gate=gate))
    async with person(talk.url) as someone:
        await someone.send("session.update", session=speaks())
        await someone.say(question)
        await someone.until("response.output_audio.delta")
        gate.set()
        await someone.until("response.done")


async def test_audio_is_sent_no_further_ahead_than_a_client_can_drop(talk: TalkServer, question: bytes):
    talk.answer("One two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen.")
    async with person(talk.url) as someone:
        await someone.send("session.update", session=speaks())
        asked = time.perf_counter() - someone.start
        await someone.say(question)
        await someone.until("response.done")
    chunks = [(at, event) for at, event in someone.heard if event["type"] == "response.output_audio.delta"]
    sent = 0.0
    for at, event in chunks:
        # Counted from the question: a busy machine may hold the first chunk back, and those behind it come closer.
        assert sent - (at - asked) < 0.5 + 0.25, "REALTIME_AUDIO_LEAD, and one piece"
        sent += len(base64.b64decode(event["delta"])) / 2 / RATE


async def test_speaking_over_the_answer_stops_it(talk: TalkServer, question: bytes):
    talk.answer("Well, that is a long story which I will tell you now. " * 20)
    async with person(talk.url) as someone:
        await someone.send("session.update", session=speaks())
        await someone.say(question)
        first = await someone.until("response.output_audio.delta")
        talk.answer("Fine.")
        await someone.say(question)
        done = await someone.until("response.done")
        assert done["response"]["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
        await someone.until("response.done")
    late = [
        event
        for event in someone.all("response.output_audio.delta")[1:]
        if event["response_id"] == first["response_id"]
    ]
    seconds = sum(len(base64.b64decode(event["delta"])) for event in late) / 2 / RATE
    assert seconds < 15, "of a story of minutes"
    story = [message for message in talk.asked["messages"] if message["role"] == "assistant"]
    assert len(story) == 1
    assert len(story[0]["content"]) < 400, "the model is told what was said of it, not all it wrote"


async def test_a_person_who_falls_silent_is_spoken_to_again(talk: TalkServer):
    talk.answer("Are you there?")
    turns = {"turn_detection": {"type": "server_vad", "idle_timeout_ms": 1000}}
    async with person(talk.url) as someone:
        update = {"type": "realtime", "output_modalities": ["text"], "audio": {"input": turns}}
        await someone.send("session.update", session=update)
        await someone.send("response.create")
        for _ in range(2):
            await someone.until("response.done")
            await someone.until("input_audio_buffer.timeout_triggered")
    assert talk.asked["messages"][-1] == {"role": "user", "content": "(silence)"}


async def test_log_probabilities_are_those_of_the_words(talk: TalkServer, question: bytes):
    async with person(talk.url, model="whisper-1", intent="transcription") as someone:
        asked = {"type": "transcription", "include": ["item.input_audio_transcription.logprobs"]}
        await someone.send("session.update", session=asked)
        await someone.say(question)
        done = await someone.until(COMPLETED)
    assert plain("".join(entry["token"] for entry in done["logprobs"])) == plain(done["transcript"])
    assert done["languages"] == [{"code": "en"}]


async def test_an_interrupted_language_model_is_hung_up_on(talk: TalkServer, question: bytes):
    gate = threading.Event()
    talk.answer(Reply("This never ends", held=" because nobody opens the gate." * 1000, gate=gate))
    async with person(talk.url) as someone:
        await someone.send("session.update", session=speaks())
        await someone.say(question)
        await someone.until("response.output_audio_transcript.delta")
        await someone.send("response.cancel")
        await someone.until("response.done")
        gate.set()
        assert await asyncio.to_thread(talk.llm.gone.wait, 10)


async def test_a_language_model_that_fails_fails_the_response_and_not_the_session(talk: TalkServer, question: bytes):
    talk.answer(Reply(status=500))
    async with person(talk.url) as someone:
        await someone.send("session.update", session=speaks())
        await someone.say(question)
        error = (await someone.until("error"))["error"]
        assert error["code"] == "llm_error"
        assert "500" in error["message"]
        assert someone.all("response.done")[0]["response"]["status"] == "failed"
        talk.answer("Better now.")
        await someone.say(question)
        assert (await someone.until("response.done"))["response"]["status"] == "completed"


async def test_telephone_audio_works_both_ways(talk: TalkServer, question: bytes):
    talk.answer("Hello from the telephone.")
    samples = np.frombuffer(question, np.int16)[::3].copy()  # 8 kHz; good enough for a telephone
    audio = {"input": {"format": {"type": "audio/pcmu"}}, "output": {"format": {"type": "audio/pcma"}}}
    async with person(talk.url) as someone:
        session = speaks()
        session["audio"]["output"] |= audio["output"]
        session["audio"]["input"] = audio["input"]
        await someone.send("session.update", session=session)
        await someone.send("input_audio_buffer.append", audio=base64_of(g711.encode(samples, "audio/pcmu")))
        assert plain((await someone.until(COMPLETED))["transcript"]) == nearly(QUESTION)
        await someone.until("response.done")
    coded = b"".join(base64.b64decode(event["delta"]) for event in someone.all("response.output_audio.delta"))
    pcm = (g711.decode(coded, "audio/pcma") * 32767).astype(np.int16).tobytes()
    assert understood(talk.url, wav(pcm, 8000)) == nearly("hello from the telephone")


async def test_a_beta_client_talks_in_its_own_words(talk: TalkServer, question: bytes):
    talk.answer("Good.")
    async with (
        AsyncOpenAI(api_key="none", websocket_base_url=f"ws{talk.url.removeprefix('http')}/v1") as client,
        client.beta.realtime.connect(model="some-llm") as connection,
    ):
        someone = Person(connection)
        created = await someone.until("session.created")
        assert created["session"]["modalities"] == ["text", "audio"]
        await someone.send("session.update", session={"voice": "joe", "speech_model": PIPER})
        await someone.say(question)
        await someone.until("response.done")
    assert {"response.audio.delta", "response.audio_transcript.delta", "conversation.item.created"} <= set(
        someone.names
    )
    assert not [name for name in someone.names if "output_audio" in name]
