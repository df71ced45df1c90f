"""Realtime over WebRTC: real peers on loopback hold a transcription and conversations; and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import httpx
import pytest
from openai import AsyncOpenAI
from starlette.testclient import TestClient

from speech_server.app import create_app
from speech_server.routes.realtime import calls
from speech_server.settings import Settings
from tests.conftest import PIPER, WHISPER, ServerProcess
from tests.talking import TalkServer, nearly, plain, spoken, talk_server, understood

if TYPE_CHECKING:
    from tests.calling import Caller

pytestmark = [pytest.mark.anyio, pytest.mark.xdist_group("talk")]

QUESTION = "Please tell me what time it is."
ANSWER = "I believe that it is Paris. You can see a very tall tower there."
LONG_ANSWER = "This is a long story, and it goes on and on. " * 12
COMPLETED = "conversation.item.input_audio_transcription.completed"
SPEAKS = {"type": "realtime", "model": "some-llm", "audio": {"output": {"model": PIPER, "voice": "joe"}}}
TRANSCRIBES = {"type": "transcription", "audio": {"input": {"transcription": {"model": WHISPER}}}}


@pytest.fixture(autouse=True, scope="module")
def needs_aiortc() -> None:
    pytest.importorskip("aiortc", reason="aiortc is not installed: `make webrtc`")


@pytest.fixture(scope="module")
def talk() -> Iterator[TalkServer]:
    with talk_server(PRELOAD_MODELS=f"{WHISPER},{PIPER}", REALTIME_MAX_SESSIONS="1") as server:
        yield server


@pytest.fixture(scope="module")
def question(talk: TalkServer) -> bytes:
    return spoken(talk.url, QUESTION)


@pytest.fixture
async def caller(talk: TalkServer) -> AsyncIterator[Caller]:
    from tests.calling import calling

    async with calling(talk.url, SPEAKS) as made:
        await made.until("session.created")
        yield made


async def test_a_transcription_is_held_by_the_official_client(talk: TalkServer, question: bytes):
    from tests.calling import Caller

    caller = Caller()
    async with AsyncOpenAI(api_key="none", base_url=f"{talk.url}/v1") as client:
        made = await client.realtime.calls.create(sdp=await caller.offer(), session=TRANSCRIBES)  # type: ignore[arg-type]
        assert made.response.status_code == 201
        assert made.response.headers["content-type"].startswith("application/sdp")
        call_id = made.response.headers["location"].removeprefix("/v1/realtime/calls/")
        await caller.accept(made.text)
        assert (await caller.until("session.created"))["session"]["object"] == "realtime.transcription_session"
        caller.microphone.to_say = question
        assert plain((await caller.until(COMPLETED))["transcript"]) == nearly(QUESTION)
        await client.realtime.calls.hangup(call_id)
        await asyncio.wait_for(caller.events.closed.wait(), 40)
        with pytest.raises(Exception, match="or it is over"):
            await client.realtime.calls.hangup(call_id)
    await caller.leave()


async def test_a_conversation_sounds_over_the_track(talk: TalkServer, caller: Caller, question: bytes):
    talk.answer(ANSWER)
    caller.microphone.to_say = question
    assert plain((await caller.until(COMPLETED))["transcript"]) == nearly(QUESTION)
    done = await caller.until("response.done")
    started = caller.all("output_audio_buffer.started")
    stopped = await caller.until("output_audio_buffer.stopped")
    assert [event["response_id"] for event in (*started, stopped)] == [done["response"]["id"]] * 2
    assert caller.names.index("response.content_part.added") < caller.names.index("output_audio_buffer.started")
    assert "response.output_audio.delta" not in caller.names
    await caller.silence(0.3)
    assert await asyncio.to_thread(understood, talk.url, caller.wav) == nearly(ANSWER)


async def test_speaking_over_an_answer_silences_it_and_what_was_not_heard_was_not_said(
    talk: TalkServer, caller: Caller, question: bytes
):
    talk.answer(LONG_ANSWER)
    caller.microphone.to_say = question
    begun = await caller.until("output_audio_buffer.started")
    caller.sound = b""
    caller.microphone.to_say = question
    cleared = await caller.until("output_audio_buffer.cleared")
    assert cleared["response_id"] == begun["response_id"]
    cut = await caller.until("conversation.item.truncated")
    await caller.silence(0.5)
    await caller.until("output_audio_buffer.started")  # of the answer to that
    told = [message["content"] for message in talk.asked["messages"] if message["role"] == "assistant"]
    assert 0 < cut["audio_end_ms"] < 20_000
    assert len(told[0]) < len(LONG_ANSWER) / 2
    assert caller.all("response.done")[0]["response"]["status_details"]["reason"] == "turn_detected"


async def test_a_client_can_silence_an_answer(talk: TalkServer, caller: Caller, question: bytes):
    talk.answer(LONG_ANSWER)
    caller.microphone.to_say = question
    await caller.until("output_audio_buffer.started")
    await caller.send("response.cancel")
    await caller.until("output_audio_buffer.cleared")
    await caller.silence(0.5)
    await caller.send("output_audio_buffer.clear")  # as OpenAI's clients do after it
    await caller.until("output_audio_buffer.cleared")
    assert "error" not in caller.names


async def test_events_of_a_call_are_those_of_any_session_but_its_audio_comes_over_the_track(caller: Caller):
    await caller.send("session.update", session={"type": "realtime", "instructions": "Be brief."})
    assert (await caller.until("session.updated"))["session"]["instructions"] == "Be brief."
    await caller.send("input_audio_buffer.append", audio="AAAA")
    assert "over the track" in (await caller.until("error"))["error"]["message"]
    caller.events.channel.send("no json")
    assert "not valid JSON" in (await caller.until("error"))["error"]["message"]


async def test_an_offer_alone_with_a_browsers_key_as_openai_and_as_speaches_take_it(talk: TalkServer):
    from tests.calling import Caller

    order = {"session": {**SPEAKS, "instructions": "Be brief."}, "single_use": True}
    async with httpx.AsyncClient(base_url=talk.url, timeout=40) as client:
        for path, status in (("/v1/realtime/calls", 201), ("/v1/realtime?model=ignored", 200)):
            secret = (await client.post("/v1/realtime/client_secrets", json=order)).json()["value"]
            headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/sdp"}
            caller = Caller()
            offer = await caller.offer()
            reply = await client.post(path, content=offer, headers=headers)
            assert reply.status_code == status, reply.text
            await caller.accept(reply.text)
            assert (await caller.until("session.created"))["session"]["instructions"] == "Be brief."
            full = await client.post(path, content=offer, headers=headers)
            assert (full.status_code, full.json()["error"]["code"]) == (429, "busy")  # one session at a time here
            await caller.leave()
            await free(client)
            again = await client.post(path, content=offer, headers=headers)
            assert (again.status_code, again.json()["error"]["code"]) == (401, "client_secret_used")


async def free(client: httpx.AsyncClient) -> None:
    """Until the one session that there may be has ended: an offer that is none would be told so."""
    async with asyncio.timeout(60):
        while (await client.post("/v1/realtime/calls", content="nonsense")).status_code == 429:
            continue


async def test_a_call_that_never_comes_about_gives_its_place_back():
    from tests.calling import Caller

    server = ServerProcess({"REALTIME_MAX_SESSIONS": "1", "REALTIME_CALL_TIMEOUT": "1"})
    caller = Caller()
    try:
        async with httpx.AsyncClient(base_url=server.url, timeout=40) as client:
            offer = await caller.offer()
            assert (await client.post("/v1/realtime/calls", content=offer)).status_code == 201
            await free(client)
    finally:
        await caller.leave()
        server.stop()


def ask(settings: Settings, path: str = "/v1/realtime/calls", **request: object) -> tuple[int, dict[str, str]]:
    reply = TestClient(create_app(settings)).post(path, **request)  # type: ignore[arg-type]
    error: dict[str, str] = reply.json()["error"]
    return reply.status_code, error


AUDIO = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\n"


@pytest.mark.parametrize(
    ("request_", "status", "words"),
    [
        ({"content": ""}, 400, "no offer"),
        ({"content": "nonsense"}, 400, "The offer has nothing"),
        ({"content": b"m=\xff\xfe\x00"}, 400, "no SDP"),
        ({"content": AUDIO}, 400, "answered"),
        ({"content": AUDIO + AUDIO[AUDIO.index("m=") :].replace("audio", "video")}, 400, "audio, video"),
        ({"content": AUDIO + "a=candidate:1 1 udp 1 127.0.0.1 9 typ host\r\n" * 65}, 400, "64 candidates"),
        ({"content": AUDIO + "a=x\r\n" * 20_000}, 413, "64000"),
        ({"files": {"sdp": (None, AUDIO), "session": (None, "{")}}, 400, "not JSON"),
        ({"files": {"sdp": (None, AUDIO), "session": (None, "[]")}}, 400, "object"),
        ({"files": {"sdp": (None, AUDIO), "session": (None, '{"typo": 1}')}}, 400, "typo"),
        ({"files": {"sdp": (None, AUDIO), "session": (None, '{"type": "translation"}')}}, 400, "address of their own"),
        ({"files": {"session": (None, "{}")}}, 400, "no offer"),
    ],
)
def test_what_is_no_call_is_refused_in_words(request_: dict[str, object], status: int, words: str):
    answer, error = ask(Settings(), **request_)
    assert (answer, words in error["message"]) == (status, True), error


def test_a_key_is_asked_for():
    assert ask(Settings(api_key="secret"), content=AUDIO)[0] == 403
    assert ask(Settings(api_key="secret"), content="", headers={"X-API-Key": "secret"})[0] == 400


@pytest.mark.parametrize("path", ["/v1/realtime/calls", "/v1/realtime", "/openai/v1/realtime/calls"])
def test_a_server_that_no_udp_reaches_says_so(path: str):
    status, error = ask(Settings(realtime_calls=False), path, json={"sdp": "v=0"})
    assert (status, error["code"]) == (501, "webrtc_unavailable")
    assert "no UDP" in error["message"]
    assert "WebSocket /v1/realtime" in error["message"]


def test_a_server_without_the_library_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(calls, "find_spec", lambda name: None)
    status, error = ask(Settings(), content=AUDIO)
    assert (status, error["code"]) == (501, "webrtc_unavailable")
    assert "make webrtc" in error["message"]
    assert "requirements/webrtc.txt" in error["message"]
