"""Who gets in, what bad clients can do, and what ends a session: raw WebSockets against a real server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.conftest import ServerProcess
from tests.speech_server.realtime.conftest import QUESTION
from tests.talking import SILENCE, TalkServer, base64_of, nearly, plain

pytestmark = [pytest.mark.anyio, pytest.mark.xdist_group("talk")]
COMPLETED = "conversation.item.input_audio_transcription.completed"


@pytest.fixture(scope="module")
def strict() -> Iterator[ServerProcess]:
    """With a key, and limits within a test's patience."""
    server = ServerProcess(
        {
            "API_KEY": "s3cret",
            "REALTIME_MAX_SESSIONS": "1",
            "REALTIME_IDLE_TIMEOUT": "3",
            "REALTIME_SEND_TIMEOUT": "1",
            "REALTIME_MAX_SECONDS": "5",
        }
    )
    yield server
    server.stop()


def address(url: str, query: str = "model=whisper-1&intent=transcription", prefix: str = "/v1") -> str:
    return f"ws{url.removeprefix('http')}{prefix}/realtime?{query}"


@asynccontextmanager
async def session(url: str, **options: Any) -> AsyncIterator[ClientConnection]:
    async with connect(url, **options) as socket:
        assert (await receive(socket))["type"] == "session.created"
        yield socket


async def receive(socket: ClientConnection, seconds: float = 20.0) -> dict[str, Any]:
    async with asyncio.timeout(seconds):
        event: dict[str, Any] = json.loads(await socket.recv())
        return event


async def until(socket: ClientConnection, kind: str) -> dict[str, Any]:
    while (event := await receive(socket))["type"] != kind:
        pass
    return event


async def refusal(url: str, **options: Any) -> tuple[int, dict[str, Any]]:
    with pytest.raises(InvalidStatus) as refused:
        async with connect(url, **options):
            pass
    return refused.value.response.status_code, json.loads(refused.value.response.body or b"{}")


# --- keys and prefixes ---


@pytest.mark.parametrize(
    ("query", "options"),
    [
        ("model=whisper-1&intent=transcription&api_key=s3cret", {}),
        ("model=whisper-1&intent=transcription", {"additional_headers": {"Authorization": "Bearer s3cret"}}),
        (
            "model=whisper-1&intent=transcription",
            {"subprotocols": ["realtime", "openai-insecure-api-key.s3cret"]},
        ),
    ],
)
async def test_a_key_may_come_in_the_query_a_header_or_a_subprotocol(
    strict: ServerProcess, query: str, options: dict[str, Any]
):
    async with session(address(strict.url, query), **options) as socket:
        assert socket.subprotocol in (None, "realtime"), "never the one with the key in it"


@pytest.mark.parametrize("query", ["model=whisper-1", "model=whisper-1&api_key=wrong", "api_key="])
async def test_without_the_key_there_is_no_session(strict: ServerProcess, query: str):
    status, body = await refusal(address(strict.url, query))
    assert (status, body["error"]["code"]) == (403, "invalid_api_key")


@pytest.mark.parametrize("prefix", ["/v1", "/v3", "/openai/v1", "/api/v1"])
async def test_it_answers_under_every_prefix(talk: TalkServer, prefix: str):
    async with session(address(talk.url, prefix=prefix)):
        pass


@pytest.mark.parametrize(("query", "param"), [("intent=seance", "intent"), ("language=klingon", "language")])
async def test_a_query_that_cannot_be_right_is_refused_before_the_session(talk: TalkServer, query: str, param: str):
    status, body = await refusal(address(talk.url, f"model=whisper-1&{query}"))
    assert (status, body["error"]["type"]) == (400, "invalid_request_error")
    assert param in body["error"]["param"]


async def test_an_unknown_model_is_an_error_event_and_can_be_put_right(talk: TalkServer):
    async with session(address(talk.url, "model=nobody/nothing&intent=transcription")) as socket:
        error = (await until(socket, "error"))["error"]
        assert error["code"] == "model_not_found"
        good = {"type": "transcription", "audio": {"input": {"transcription": {"model": "whisper-1"}}}}
        await socket.send(json.dumps({"type": "session.update", "session": good}))
        assert await until(socket, "session.updated")


# --- limits ---

KEY = "model=whisper-1&intent=transcription&api_key=s3cret"


async def test_one_session_more_than_allowed_is_429(strict: ServerProcess):
    async with session(address(strict.url, KEY)):
        status, body = await refusal(address(strict.url, KEY))
    assert (status, body["error"]["code"]) == (429, "busy")


async def test_a_client_that_says_nothing_is_let_go(strict: ServerProcess):
    async with session(address(strict.url, KEY)) as socket:
        assert (await until(socket, "error"))["error"]["code"] == "session_idle"
        with pytest.raises(ConnectionClosed):
            await receive(socket)


async def test_a_session_ends_at_its_limit(strict: ServerProcess):
    async with session(address(strict.url, KEY)) as socket:

        async def keep_talking() -> None:
            while True:
                await socket.send(json.dumps({"type": "input_audio_buffer.clear"}))
                await asyncio.sleep(0.3)

        talking = asyncio.create_task(keep_talking())
        assert (await until(socket, "error"))["error"]["code"] == "session_expired"
        talking.cancel()
        await asyncio.gather(talking, return_exceptions=True)


async def test_a_client_that_does_not_read_is_cut_off_and_its_place_is_free(strict: ServerProcess):
    text = {"type": "input_text", "text": "x" * 900_000}
    item = {"type": "message", "role": "user", "id": "big", "content": [text]}
    # Nothing here reads the socket: the client library's buffer takes one message, the kernel's a few more.
    async with session(address(strict.url, KEY), max_queue=1, max_size=None, close_timeout=0.1) as socket:
        await socket.send(json.dumps({"type": "conversation.item.create", "item": item}))
        for _ in range(20):
            await socket.send(json.dumps({"type": "conversation.item.retrieve", "item_id": "big"}))
        for _ in range(100):
            if await opens(address(strict.url, KEY)):
                assert any("client_too_slow" in line for line in strict.lines)
                return
            await asyncio.sleep(0.1)
    raise AssertionError("REALTIME_MAX_SESSIONS is 1, and the client that does not read still counts")


async def opens(url: str) -> bool:
    try:
        async with session(url):
            return True
    except InvalidStatus:
        return False


# --- bad events ---

# What is sent, and the code of the error event or the type of the event that answers it; None: no answer.
ODD: list[tuple[Any, str | None]] = [
    ("", "invalid_json"),
    ("not json", "invalid_json"),
    (b"\xff\xfe\x00", "invalid_json"),
    ("[1, 2]", "invalid_json"),
    ("null", "invalid_json"),
    ("[" * 50_000, "invalid_json"),
    ({}, "missing_type"),
    ({"type": None}, "missing_type"),
    ({"type": "no.such.event"}, "unknown_event"),
    ({"type": "session.created"}, "unknown_event"),
    ({"type": "input_audio_buffer.append"}, "invalid_value"),
    ({"type": "input_audio_buffer.append", "audio": 5}, "invalid_value"),
    ({"type": "input_audio_buffer.append", "audio": "%%%"}, "invalid_audio"),
    ({"type": "input_audio_buffer.append", "audio": "YWJ"}, "invalid_audio"),
    ({"type": "input_audio_buffer.append", "audio": "ü"}, "invalid_audio"),
    ({"type": "input_audio_buffer.append", "audio": ""}, None),
    ({"type": "input_audio_buffer.append", "audio": "AA=="}, None),  # half a sample
    ({"type": "input_audio_buffer.append", "audio": "AA=="}, None),  # and its other half
    ({"type": "input_audio_buffer.append", "audio": "A" * (15 * 2**20 * 4 // 3 + 8)}, "audio_too_large"),
    ({"type": "input_audio_buffer.commit"}, "input_audio_buffer_commit_empty"),
    ({"type": "input_audio_buffer.clear"}, "input_audio_buffer.cleared"),
    ({"type": "input_audio_buffer.clear"}, "input_audio_buffer.cleared"),
    ({"type": "session.update"}, "invalid_value"),
    ({"type": "session.update", "session": None}, "invalid_value"),
    ({"type": "session.update", "session": {}}, "session.updated"),
    ({"type": "session.update", "session": {"audio": {"input": {"turn_detection": None}}}}, "session.updated"),
    ({"type": "input_audio_buffer.append", "audio": base64_of(SILENCE)}, None),
    (
        {"type": "session.update", "session": {"audio": {"input": {"turn_detection": {"type": "server_vad"}}}}},
        "session.updated",
    ),
    ({"type": "session.update", "session": {"audio": {"input": {"turn_detection": {"type": "x"}}}}}, "invalid_value"),
    (
        {"type": "session.update", "session": {"audio": {"input": {"format": {"type": "audio/pcm", "rate": 1}}}}},
        "invalid_value",
    ),
    (
        {"type": "session.update", "session": {"audio": {"input": {"transcription": {"model": "no/model"}}}}},
        "model_not_found",
    ),
    (
        {"type": "session.update", "session": {"audio": {"input": {"transcription": {"language": "xx"}}}}},
        "invalid_language",
    ),
    ({"type": "session.update", "session": {"tools": "hammer"}}, "invalid_value"),
    ({"type": "conversation.item.create", "item": {}}, "invalid_value"),
    (
        {"type": "conversation.item.create", "item": {"type": "message", "role": "ghost", "content": []}},
        "invalid_value",
    ),
    (
        {
            "type": "conversation.item.create",
            "previous_item_id": "nobody",
            "item": {"type": "message", "role": "user", "content": []},
        },
        "item_not_found",
    ),
    ({"type": "conversation.item.retrieve", "item_id": "nobody"}, "item_not_found"),
    ({"type": "conversation.item.delete", "item_id": "nobody"}, "item_not_found"),
    (
        {"type": "conversation.item.truncate", "item_id": "nobody", "content_index": 0, "audio_end_ms": 0},
        "item_not_found",
    ),
    ({"type": "response.cancel"}, "response_cancel_not_active"),
    ({"type": "response.create"}, "invalid_session_type"),
    ({"type": "response.create", "response": {"input": "hello"}}, "invalid_value"),
    ({"type": "output_audio_buffer.clear"}, "output_audio_buffer_empty"),
]


async def test_no_odd_event_closes_the_socket_and_then_a_good_utterance_works(talk: TalkServer, question: bytes):
    async with session(address(talk.url), max_size=None) as socket:
        for sent, answer in ODD:
            await socket.send(sent if isinstance(sent, str | bytes) else json.dumps(sent))
            if answer is not None:
                event = await receive(socket)
                told = event["error"]["code"] if event["type"] == "error" else event["type"]
                assert told == answer, f"{str(sent)[:200]}: {str(event)[:300]}"
        for at in range(0, len(question), 4800):
            audio = base64_of(question[at : at + 4800])
            await socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": audio}))
        assert plain((await until(socket, COMPLETED))["transcript"]) == nearly(QUESTION)


async def test_a_commit_while_speaking_takes_what_was_said(talk: TalkServer, question: bytes):
    async with session(address(talk.url)) as socket:
        said = question[: len(question) - len(SILENCE)]
        await socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": base64_of(said)}))
        await until(socket, "input_audio_buffer.speech_started")
        await socket.send(json.dumps({"type": "input_audio_buffer.commit"}))
        assert plain((await until(socket, COMPLETED))["transcript"]) == nearly(QUESTION)


async def test_push_to_talk_hears_what_is_committed(talk: TalkServer, question: bytes):
    off = {"type": "transcription", "audio": {"input": {"turn_detection": None}}}
    async with session(address(talk.url)) as socket:
        await socket.send(json.dumps({"type": "session.update", "session": off}))
        for _ in range(2):
            await socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": base64_of(question)}))
            await socket.send(json.dumps({"type": "input_audio_buffer.commit"}))
            assert plain((await until(socket, COMPLETED))["transcript"]) == nearly(QUESTION)


async def test_audio_inside_a_message_is_transcribed(talk: TalkServer, question: bytes):
    item = {"type": "message", "role": "user", "content": [{"type": "input_audio", "audio": base64_of(question)}]}
    async with session(address(talk.url)) as socket:
        await socket.send(json.dumps({"type": "conversation.item.create", "item": item}))
        assert plain((await until(socket, COMPLETED))["transcript"]) == nearly(QUESTION)
        item["content"] = [{"type": "input_audio", "audio": "%%%"}]
        await socket.send(json.dumps({"type": "conversation.item.create", "item": item}))
        failed = await until(socket, "conversation.item.input_audio_transcription.failed")
        assert failed["error"]["code"] == "invalid_audio"
