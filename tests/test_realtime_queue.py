"""Realtime and voice chat through a queue endpoint: local platform, worker, speech server, the official client."""

from __future__ import annotations

import asyncio
import base64
import io
import os
import socket
import subprocess
import sys
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from openai import AsyncOpenAI

from tests.conftest import PIPER, ROOT, WHISPER
from tests.endpoint.gateway.conftest import start, stop
from tests.local_runpod.local_platform import LocalPlatform, eventually
from tests.speech_server.conftest import SPANISH
from tests.stand_in_llm import StandInLLM, stand_in_llm
from tests.talking import ENGLISH_OF_SPANISH, RATE, SILENCE, Person, base64_of, nearly, pcm_of, plain

pytestmark = [pytest.mark.anyio, pytest.mark.xdist_group("queue")]

COMPLETED = "conversation.item.input_audio_transcription.completed"
TRANSCRIPTS = ("session.input_transcript.delta", "session.output_transcript.delta")
QUESTION = "Please tell me what time it is."
ANSWER = "I believe that it is Paris. You can see a very tall tower there."


@dataclass
class Endpoint:
    platform: LocalPlatform
    llm: StandInLLM
    port: int


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with stand_in_llm(ANSWER) as llm:
        env = {
            "WORKER_REALTIME_PORT": str(port),
            "CHAT_COMPLETION_BASE_URL": llm.url,
            "SPEECH_SERVER_COMMAND": "python -m speech_server",
        }
        with LocalPlatform([sys.executable, "-u", "handler.py"], env=env) as platform:
            yield Endpoint(platform, llm, port)


@pytest.fixture(scope="module")
def question(endpoint: Endpoint) -> bytes:
    """pcm16 at 24 kHz, spoken by the endpoint itself."""
    order = {"model": PIPER, "voice": "joe", "input": QUESTION, "response_format": "pcm", "sample_rate": RATE}
    state = endpoint.platform.runsync({"path": "/v1/audio/speech", "body": order})
    assert state["status"] == "COMPLETED", state
    return base64.b64decode(state["output"]["audio_content"])


def address(platform: LocalPlatform, job_id: str) -> dict[str, Any]:
    def look() -> dict[str, Any]:
        state = platform.status(job_id)
        assert state["status"] in ("IN_QUEUE", "IN_PROGRESS"), state
        output = state.get("output")
        told: dict[str, Any] = output.get("realtime", {}) if isinstance(output, dict) else {}
        return told

    return eventually(look, 20, "the session's address")


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def test_a_conversation_through_a_held_job(endpoint: Endpoint, question: bytes):
    platform = endpoint.platform
    assert not listens(endpoint.port)
    job_id = await asyncio.to_thread(platform.run, {"path": "/v1/realtime", "query": {"model": "some-llm"}})
    told = await asyncio.to_thread(address, platform, job_id)
    base = told["url"].removesuffix("/realtime")
    async with (
        AsyncOpenAI(api_key=told["token"], websocket_base_url=base) as client,
        client.realtime.connect(model="any") as connection,
    ):
        someone = Person(connection)
        await someone.until("session.created")
        output = {"model": PIPER, "voice": "joe"}
        await someone.send("session.update", session={"type": "realtime", "audio": {"output": output}})
        await someone.say(question + SILENCE, pace=1.0)
        assert plain((await someone.until(COMPLETED))["transcript"]) == nearly(QUESTION)
        done = await someone.until("response.done")
    assert done["response"]["output"][0]["content"][0]["transcript"] == ANSWER
    assert endpoint.llm.requests[-1][1]["model"] == "some-llm"
    state = await asyncio.to_thread(platform.wait, job_id)
    assert state["status"] == "COMPLETED", state
    summary = state["output"]
    assert (summary["reason"], summary["turns"]) == ("client_left", 1)
    sent = b"".join(base64.b64decode(event["delta"]) for event in someone.all("response.output_audio.delta"))
    assert summary["audio_seconds_out"] == pytest.approx(len(sent) / 2 / RATE, abs=0.05)
    assert summary["audio_seconds_in"] == pytest.approx(len(question) / 2 / RATE + 1, abs=0.05)
    assert not listens(endpoint.port)


async def test_a_session_through_the_door_begins_with_the_settings_of_a_client_secret(endpoint: Endpoint):
    platform = endpoint.platform
    order = {"path": "/v1/realtime/client_secrets", "body": {"session": {"instructions": "Be brief."}}}
    state = await asyncio.to_thread(platform.runsync, order)
    assert state["status"] == "COMPLETED", state
    headers = {"Authorization": f"Bearer {state['output']['value']}"}
    job_id = await asyncio.to_thread(platform.run, {"path": "/v1/realtime", "headers": headers})
    told = await asyncio.to_thread(address, platform, job_id)
    async with (
        AsyncOpenAI(api_key=told["token"], websocket_base_url=told["url"].removesuffix("/realtime")) as client,
        client.realtime.connect(model="any") as connection,
    ):
        created = await Person(connection).until("session.created")
    assert created["session"]["instructions"] == "Be brief."
    assert (await asyncio.to_thread(platform.wait, job_id))["status"] == "COMPLETED"


async def test_a_translation_through_a_held_job(endpoint: Endpoint):
    """The official client's translation session, at the worker's door."""
    platform = endpoint.platform
    query = {"model": WHISPER, "transcription_model": WHISPER, "language": "es", "speech_model": PIPER}
    job_id = await asyncio.to_thread(platform.run, {"path": "/v1/realtime/translations", "query": query})
    told = await asyncio.to_thread(address, platform, job_id)
    assert told["url"].endswith("/v1/realtime/translations")
    base, spoken = told["url"].removesuffix("/realtime/translations"), pcm_of(SPANISH)
    async with (
        AsyncOpenAI(api_key=told["token"], websocket_base_url=base) as client,
        client.realtime.translations.connect(model="any") as connection,
    ):
        someone = Person(connection)
        assert (await someone.until("session.created"))["session"]["model"] == WHISPER
        for at in range(0, len(spoken), RATE):
            await connection.session.input_audio_buffer.append(audio=base64_of(spoken[at : at + RATE]))
        await connection.session.close()
        await someone.until("session.closed")
    heard, english = ("".join(event["delta"] for event in someone.all(kind)) for kind in TRANSCRIPTS)
    assert plain(heard) == plain("Madrid es la capital de España.")
    assert ENGLISH_OF_SPANISH.fullmatch(plain(english))
    sound = b"".join(base64.b64decode(event["delta"]) for event in someone.all("session.output_audio.delta"))
    state = await asyncio.to_thread(platform.wait, job_id)
    assert state["status"] == "COMPLETED", state
    summary = state["output"]
    assert summary["reason"] in ("session_closed", "client_left")  # whoever hangs up first
    assert summary["audio_seconds_in"] == pytest.approx(len(spoken) / 2 / RATE, abs=0.05)
    assert summary["audio_seconds_out"] == pytest.approx(len(sound) / 2 / RATE, abs=0.05)
    assert len(sound) / 2 / RATE > 0.5
    assert not listens(endpoint.port)


async def test_a_client_of_the_gateway_never_sees_the_door(endpoint: Endpoint, question: bytes):
    """The official client, told nothing but the gateway's base URL."""
    gateway = await asyncio.to_thread(start, endpoint.platform.base, RUNPOD_API_KEY="any")
    try:
        async with (
            AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="any") as client,
            client.realtime.connect(model=WHISPER, extra_query={"intent": "transcription"}) as connection,
        ):
            someone = Person(connection)
            await someone.until("session.created")
            await someone.say(question + SILENCE, pace=0.5)
            assert plain((await someone.until(COMPLETED))["transcript"]) == nearly(QUESTION)
        await asyncio.to_thread(eventually, lambda: not listens(endpoint.port), 20, "the port closed")
    finally:
        await asyncio.to_thread(stop, gateway)
    assert "token" not in gateway.log


def test_a_cancelled_session_closes_the_port(endpoint: Endpoint):
    job_id = endpoint.platform.run({"path": "/v1/realtime", "query": {"model": "m"}})
    address(endpoint.platform, job_id)
    assert listens(endpoint.port)
    endpoint.platform.cancel(job_id)
    eventually(lambda: not listens(endpoint.port), 20, "the port closed")
    assert endpoint.platform.status(job_id)["status"] == "CANCELLED"


def test_the_command_line_client_talks_through_the_endpoint(endpoint: Endpoint):
    clip = ROOT / "examples" / "clips" / "english.opus"
    talk = [sys.executable, "-m", "endpoint", "talk", str(clip), "--fast"]
    done = subprocess.run(
        [*talk, "--at", endpoint.platform.base, "--api-key", "any", "--language", "en"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=ROOT,
        env=os.environ,
    )
    assert done.returncode == 0, done.stderr
    assert "quick brown fox jumps over the lazy dog" in plain(done.stdout)
    assert '"reason": "client_left"' in done.stderr


def test_a_spoken_question_gets_a_spoken_answer_in_one_job(endpoint: Endpoint, question: bytes):
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(question)
    audio = {"data": base64.b64encode(file.getvalue()).decode(), "format": "wav"}
    body = {
        "model": "some-llm",
        "messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": audio}]}],
        "modalities": ["text", "audio"],
        "audio": {"voice": "joe", "format": "wav"},
        "speech_model": PIPER,
        "transcription_model": WHISPER,
    }
    state = endpoint.platform.runsync({"method": "POST", "path": "/v1/chat/completions", "body": body})
    assert state["status"] == "COMPLETED", state
    assert plain(endpoint.llm.requests[-1][1]["messages"][0]["content"]) == nearly(QUESTION)
    answer = state["output"]["choices"][0]["message"]["audio"]
    assert answer["transcript"] == ANSWER
    heard = endpoint.platform.runsync(
        {"path": "/v1/audio/transcriptions", "file_base64": answer["data"], "body": {"model": WHISPER}}
    )
    assert plain(heard["output"]["text"]) == nearly(ANSWER)
