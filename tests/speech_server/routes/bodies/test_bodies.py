"""No body is larger, deeper or more than its route needs, however it comes; and none holds up anybody else."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Iterator

import httpx
import pytest
from starlette.types import Message

from speech_server.chat import hearing
from speech_server.decoding import BLOCK
from speech_server.errors import InvalidRequest
from speech_server.routes.bodies.json_body import JsonRequest, parse_json
from tests.conftest import PIPER, ServerProcess
from tests.stand_in_llm import stand_in_llm

SPEAK, CHAT, HEAR = "/v1/audio/speech", "/v1/chat/completions", "/v1/audio/transcriptions"
JSON = {"content-type": "application/json"}
ORDER = {"model": PIPER, "input": "Hello.", "voice": "joe"}


def padded(order: dict[str, object], megabytes: float) -> bytes:
    return json.dumps({**order, "ignored": "a" * int(megabytes * 1e6)}).encode()


def pieces(body: bytes) -> Iterator[bytes]:
    """Sent chunked: nobody says how much will come."""
    for start in range(0, len(body), 100_000):
        yield body[start : start + 100_000]


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
@pytest.mark.parametrize(
    ("path", "setting"),
    [
        (SPEAK, "MAX_JSON_MB"),
        ("/v1/models/a/b", "MAX_JSON_MB"),
        ("/v1/nothing/here", "MAX_JSON_MB"),
        (CHAT, "MAX_CHAT_MB"),
        ("/v3/chat/completions", "MAX_CHAT_MB"),
    ],
)
def test_a_body_larger_than_its_route_needs_is_413(client: httpx.Client, path: str, setting: str, declared: bool):
    body = padded(ORDER, 2.1 if setting == "MAX_JSON_MB" else 33)
    answer = client.post(path, content=body if declared else pieces(body), headers=JSON)
    if not declared and path in ("/v1/models/a/b", "/v1/nothing/here"):
        assert answer.status_code == 404  # answered before the body has come, which nobody keeps
        return
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")
    assert setting in answer.json()["error"]["message"]


@pytest.mark.parametrize("method", ["GET", "DELETE", "OPTIONS"])
def test_a_body_where_none_is_taken_is_refused_by_its_length(client: httpx.Client, method: str):
    assert client.request(method, "/v1/models", content=bytes(2_100_000)).status_code == 413
    assert client.get("/v1/registry").status_code == 200


def test_bodies_within_their_limits_are_taken(client: httpx.Client):
    assert client.post(SPEAK, content=padded(ORDER, 1.9), headers=JSON).status_code == 200
    messages = [{"role": "user", "content": "a" * 20_000_000}]
    answer = client.post(CHAT, json={"model": "m", "messages": messages})
    assert (answer.status_code, answer.json()["error"]["code"]) == (501, "llm_not_configured")


# --- what JSON may be: the same on every Python ---

DEEP = {
    "lists": b'{"model":"m","messages":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    "objects": b'{"model":"m","messages":' + b'{"a":' * 10_000 + b"1" + b"}" * 10_000 + b"}",
    "a hundred": b'{"model":"m","messages":[{"role":"user","content":' + b"[" * 100 + b"]" * 100 + b"}]}",
    "unclosed": b"[" * 100_000,
}
BAD = {
    **{f"deep {name}": body for name, body in DEEP.items()},
    "5,000 digits": b'{"model":"m","messages":[{"role":"user","content":"a"}],"seed":' + b"7" * 5000 + b"}",
    "minus 5,000 digits": b'{"model":"m","messages":[{"role":"user","content":"a"}],"seed":-' + b"7" * 5000 + b"}",
    "NaN": b'{"model":"m","messages":[{"role":"user","content":"a"}],"seed":NaN}',
    "Infinity": b'{"model":"m","messages":[{"role":"user","content":"a"}],"top_p":-Infinity}',
    "1e999": b'{"model":"m","messages":[{"role":"user","content":"a"}],"top_p":1e999}',
    "half a surrogate": b'{"model":"m","messages":[{"role":"user","content":"\\ud800"}]}',
    "not UTF-8": b'{"model":"m","messages":[{"role":"user","content":"\xff"}]}',
    "UTF-16": '{"model":"m"}'.encode("utf-16"),
    "nothing after": b'{"model":"m"} {"model":"m"}',
}


@pytest.mark.parametrize("path", [CHAT, SPEAK])
@pytest.mark.parametrize("name", BAD)
def test_json_that_cannot_be_is_422_and_says_what(client: httpx.Client, name: str, path: str):
    answer = client.post(path, content=BAD[name], headers=JSON)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_value")
    assert "JSON" in answer.json()["error"]["message"]


def test_64_levels_are_taken(client: httpx.Client):
    body = b'{"model":"m","messages":[{"role":"user","content":' + b"[" * 61 + b"]" * 61 + b"}]}"
    assert client.post(CHAT, content=body, headers=JSON).status_code == 501


@pytest.mark.parametrize("values", [b"[]", b"{}", b"0", b'""', b'{"":0}'])
@pytest.mark.parametrize("path", [CHAT, SPEAK])
def test_more_values_than_anything_needs_is_413(client: httpx.Client, path: str, values: bytes):
    """Each is a few bytes here and a hundred in memory."""
    body = b'{"ignored":[' + b",".join([values] * 300_000) + b"]}"
    answer = client.post(path, content=body, headers=JSON)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")


def test_a_thousand_faults_are_not_a_thousand_lines(client: httpx.Client):
    for fault in ({"messages": [0] * 90_000}, {"messages": [{}], "modalities": ["smell"] * 90_000}):
        answer = client.post(CHAT, json={"model": "m", **fault})
        assert answer.status_code == 422
        assert len(answer.json()["detail"]) == 1, "each costs the event loop ten microseconds"


# --- nobody waits for somebody else's body ---


FEW = 5  # turns: work on the loop itself leaves it two or three


async def turns_during(work: Awaitable[object]) -> int:
    """How often the event loop came round meanwhile."""
    turns, task = 0, asyncio.ensure_future(work)
    while not task.done():
        await asyncio.sleep(0)
        turns += 1
    await task
    return turns


@pytest.mark.anyio
async def test_a_large_body_is_parsed_beside_the_event_loop():
    body = padded(ORDER, 20)

    async def receive() -> Message:
        return {"type": "http.request", "body": body}

    request = JsonRequest({"type": "http", "method": "POST", "headers": []}, receive)
    await request.body()
    assert await turns_during(request.json()) > FEW
    assert await turns_during(asyncio.sleep(0, parse_json(body))) < FEW, "the count tells nothing"


@pytest.mark.anyio
async def test_large_audio_in_a_chat_is_decoded_beside_the_event_loop():
    data = base64.b64encode(bytes(range(256)) * 50_000).decode()
    heard = hearing._audio({"input_audio": {"data": data}}, "here")
    assert await turns_during(heard) > FEW


@pytest.mark.anyio
@pytest.mark.parametrize("bad", ["QQ==" + "QUJD", "A" * (BLOCK - 2) + "==" + "QUJD", "QUJ", "QU J", "QUJD\n", "="])
async def test_what_is_no_base64_is_refused(bad: str):
    with pytest.raises(InvalidRequest, match="here is not valid base64"):
        await hearing._audio({"input_audio": {"data": bad}}, "here")


def test_bodies_of_chats_have_one_memory():
    with stand_in_llm("Yes.") as llm:
        server = ServerProcess({"CHAT_COMPLETION_BASE_URL": llm.url, "MAX_CHATS_MB": "3"})
        try:
            with httpx.Client(base_url=server.url, timeout=60) as client:
                order = {"model": "m", "messages": [{"role": "user", "content": "Hello."}]}
                for _ in range(3):  # what was taken is given back
                    assert client.post(CHAT, content=padded(order, 2), headers=JSON).status_code == 200
                answer = client.post(CHAT, content=padded(order, 4), headers=JSON)
                assert (answer.status_code, answer.json()["error"]["code"]) == (503, "overloaded")
                assert answer.headers["retry-after"]
                assert client.post(SPEAK, content=padded(ORDER, 1), headers=JSON).status_code == 200
        finally:
            server.stop()
