"""A backend asks for a key, a browser opens a session with it: the official client, against a server with a key."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from openai import APIStatusError, AsyncOpenAI
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.conftest import PIPER, ServerProcess

pytestmark = pytest.mark.anyio

KEY = "sk-the-key-of-the-backend"
SESSION: dict[str, Any] = {
    "type": "realtime",
    "model": "some-llm",
    "instructions": "Be brief.",
    "output_modalities": ["text"],
    "audio": {
        "input": {"turn_detection": {"type": "semantic_vad", "eagerness": "low"}, "transcription": {"language": "en"}},
        "output": {"voice": {"id": "joe"}, "model": PIPER, "format": {"type": "audio/pcmu"}},
    },
}


@pytest.fixture(scope="module")
def guarded() -> Iterator[str]:
    server = ServerProcess({"API_KEY": KEY})
    yield server.url
    server.stop()


def post(url: str, path: str, body: Any, key: str = KEY) -> httpx.Response:
    return httpx.post(f"{url}/v1/realtime/{path}", json=body, headers={"Authorization": f"Bearer {key}"})


def made(url: str, **body: Any) -> str:
    answer = post(url, "client_secrets", body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["value"])


async def opened(url: str, secret: str, query: str = "") -> dict[str, Any]:
    """What a session opened as a browser does begins with."""
    protocols = ["realtime", f"openai-insecure-api-key.{secret}"]
    async with connect(f"ws{url.removeprefix('http')}/v1/realtime{query}", subprotocols=protocols) as socket:  # type: ignore[arg-type]
        assert socket.subprotocol == "realtime"
        session: dict[str, Any] = json.loads(await socket.recv())["session"]
        return session


async def refused(url: str, secret: str, below: str = "") -> tuple[int, str]:
    with pytest.raises(InvalidStatus) as denied:
        await opened(url, secret, below)
    body = json.loads(denied.value.response.body or b"{}")
    return denied.value.response.status_code, body["error"]["code"]


async def test_the_official_client_makes_one_and_opens_a_session_with_it(guarded: str):
    async with AsyncOpenAI(base_url=f"{guarded}/v1", api_key=KEY, max_retries=0) as backend:
        secret = await backend.realtime.client_secrets.create(
            expires_after={"anchor": "created_at", "seconds": 60},
            session=SESSION,  # type: ignore[arg-type]
        )
    assert secret.value.startswith("ek_")
    assert not secret.model_extra
    assert not secret.session.model_extra
    async with (
        AsyncOpenAI(base_url=f"{guarded}/v1", api_key=secret.value, max_retries=0) as browser,
        browser.realtime.connect() as connection,
    ):
        event = await anext(aiter(connection))
        assert event.type == "session.created"
        begun = event.session.to_dict()
        for told in (begun, secret.session.to_dict()):
            assert (told["instructions"], told["model"]) == ("Be brief.", "some-llm")
        assert begun["audio"] == secret.session.to_dict()["audio"]
        with pytest.raises(APIStatusError) as denied:
            await browser.models.list()
        assert denied.value.status_code == 403
        with pytest.raises(APIStatusError):
            await browser.realtime.client_secrets.create()


async def test_the_session_is_bound_to_its_settings_whatever_the_query_says(guarded: str):
    secret = made(guarded, session={"type": "transcription", "audio": {"input": {"turn_detection": None}}})
    session = await opened(guarded, secret, "?model=another&intent=conversation&language=es")
    assert session["type"] == "transcription"
    assert "language" not in session["audio"]["input"]["transcription"]
    assert session["audio"]["input"]["turn_detection"] is None


@pytest.mark.parametrize(
    ("kind", "update", "param"),
    [
        ({"type": "transcription"}, {"type": "realtime", "model": "dear-llm"}, "session.type"),
        ({"type": "realtime", "model": "some-llm"}, {"type": "realtime", "model": "dear-llm"}, "session.model"),
        ({"type": "realtime", "model": "some-llm"}, {"model": None}, "session.model"),
    ],
    ids=str,
)
async def test_who_holds_it_cannot_make_another_kind_of_session_of_it(
    guarded: str, kind: dict[str, Any], update: dict[str, Any], param: str
):
    protocols = ["realtime", f"openai-insecure-api-key.{made(guarded, session=kind)}"]
    async with connect(f"ws{guarded.removeprefix('http')}/v1/realtime", subprotocols=protocols) as socket:  # type: ignore[arg-type]
        begun = json.loads(await socket.recv())["session"]
        await socket.send(json.dumps({"type": "session.update", "session": update}))
        refusal = json.loads(await socket.recv())
        assert (refusal["type"], refusal["error"]["param"]) == ("error", param)
        await socket.send(json.dumps({"type": "session.update", "session": kind}))
        assert json.loads(await socket.recv())["session"] == begun


async def test_the_query_names_the_language_model_where_the_secret_does_not(guarded: str):
    assert (await opened(guarded, made(guarded), "?model=some-llm"))["model"] == "some-llm"
    assert (await opened(guarded, made(guarded, session=SESSION), "?model=another"))["model"] == "some-llm"


async def test_one_opens_many_sessions_and_a_single_use_one_opens_one(guarded: str):
    often, once = made(guarded), made(guarded, single_use=True)
    for _ in range(2):
        await opened(guarded, often)
    await opened(guarded, once)
    assert await refused(guarded, once) == (401, "client_secret_used")


async def test_one_for_translations_opens_those_and_nothing_else(guarded: str):
    async with AsyncOpenAI(base_url=f"{guarded}/v1", api_key=KEY, max_retries=0) as backend:
        secret = await backend.realtime.translations.client_secrets.create(
            expires_after={"anchor": "created_at", "seconds": 60},
            session={"model": "gpt-realtime-translate", "audio": {"input": {"transcription": {"model": "whisper-1"}}}},
        )
    assert not secret.model_extra
    async with (
        AsyncOpenAI(base_url=f"{guarded}/v1", api_key=secret.value, max_retries=0) as browser,
        browser.realtime.translations.connect(model="another") as connection,
    ):
        begun = (await connection.recv()).to_dict()["session"]
    assert isinstance(begun, dict)
    for told in (begun, secret.session.to_dict()):
        assert (told["type"], told["model"]) == ("translation", "gpt-realtime-translate")
        assert (told["audio"]["input"]["transcription"], told["audio"]["output"]["language"]) == (
            {"model": "whisper-1"},
            "en",
        )
    assert await refused(guarded, secret.value) == (401, "client_secret_for_another")
    assert await refused(guarded, made(guarded), "/translations") == (401, "client_secret_for_another")


def test_one_for_translations_is_made_with_what_they_have(guarded: str):
    for path, session, param in (
        ("client_secrets", {"type": "translation"}, "session.type"),
        ("translations/client_secrets", {"type": "realtime"}, "session.type"),
        ("translations/client_secrets", {"tools": []}, "session.tools"),
        ("translations/client_secrets", {"audio": {"output": {"language": "es"}}}, "session.audio.output.language"),
    ):
        answer = post(guarded, path, {"session": session})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


async def test_a_forged_one_is_401(guarded: str):
    secret = made(guarded)
    assert await refused(guarded, secret[:-2] + ("AA" if secret[-2:] != "AA" else "BB")) == (
        401,
        "invalid_client_secret",
    )


async def test_a_server_without_a_key_knows_its_own_and_refuses_others(server_url: str, guarded: str):
    secret = post(server_url, "client_secrets", {"session": SESSION}).json()["value"]
    assert (await opened(server_url, secret))["instructions"] == "Be brief."
    assert await refused(server_url, made(guarded)) == (401, "invalid_client_secret")


async def test_long_instructions_still_fit(guarded: str):
    words = " ".join(f"Rule {number}: say what {number * 7919 % 1000} means." for number in range(350))
    assert len(words) > 10_000
    assert (await opened(guarded, made(guarded, session={"instructions": words})))["instructions"] == words


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"expires_after": {"anchor": "created_at", "seconds": 9}}, 422, "seconds"),
        ({"expires_after": {"anchor": "created_at", "seconds": 7201}}, 422, "seconds"),
        ({"expires_after": {"anchor": "last_used", "seconds": 60}}, 422, "anchor"),
        ({"sesion": {}}, 422, "sesion"),
        ({"session": {"voice": {"name": "joe"}}}, 400, "session.audio.output.voice"),
        ({"session": {"type": "dream"}}, 400, "session.type"),
        ({"session": {"audio": {"input": {"transcription": {"language": "klingon"}}}}}, 400, "language"),
        ({"session": {"prompt": {"id": "pmpt_1"}}}, 400, "session.prompt"),
    ],
    ids=str,
)
async def test_what_no_session_could_be_is_refused_when_the_secret_is_asked_for(
    guarded: str, body: dict[str, Any], status: int, param: str
):
    answer = post(guarded, "client_secrets", body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)


async def test_a_browser_cannot_make_one(guarded: str):
    assert post(guarded, "client_secrets", {}, key=made(guarded)).status_code == 403
    async with AsyncOpenAI(base_url=f"{guarded}/v1", api_key="wrong", max_retries=0) as stranger:
        with pytest.raises(APIStatusError):
            await stranger.realtime.client_secrets.create()


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # OpenAI's own word for its beta
async def test_the_beta_s_sessions_have_the_beta_s_shape(guarded: str):
    async with AsyncOpenAI(base_url=f"{guarded}/v1", api_key=KEY, max_retries=0) as backend:
        made = await backend.beta.realtime.sessions.create(
            client_secret={"expires_after": {"anchor": "created_at"}},
            model="gpt-realtime",
            voice="alloy",
            modalities=["text"],
            input_audio_format="g711_ulaw",
        )
    assert (made.voice, made.modalities, made.input_audio_format) == ("alloy", ["text"], "g711_ulaw")
    session = await opened(guarded, made.client_secret.value)
    assert (session["model"], session["output_modalities"]) == ("gpt-realtime", ["text"])
    assert session["audio"]["input"]["format"] == {"type": "audio/pcmu"}


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
async def test_so_have_its_transcription_sessions(guarded: str):
    async with AsyncOpenAI(base_url=f"{guarded}/v1", api_key=KEY, max_retries=0) as backend:
        made = await backend.beta.realtime.transcription_sessions.create(
            input_audio_transcription={"model": "whisper-1", "language": "en"},
            client_secret={"expires_at": {"anchor": "created_at", "seconds": 60}},
        )
    assert made.input_audio_transcription
    assert made.input_audio_transcription.language == "en"
    session = await opened(guarded, made.client_secret.value)
    assert session["type"] == "transcription"
    assert session["audio"]["input"]["transcription"] == {"model": "whisper-1", "language": "en"}
