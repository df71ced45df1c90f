"""Live translation on a real server, through the official client: Spanish in, English text and English sound out."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from openai import AsyncOpenAI
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.conftest import PIPER, ROOT
from tests.sound import wav
from tests.talking import ENGLISH_OF_SPANISH, RATE, Person, base64_of, nearly, pcm_of, plain, understood

pytestmark = pytest.mark.anyio

CLIP = ROOT / "examples" / "clips" / "spanish.opus"
SPANISH = "Madrid es la capital de España."
OUTPUT, INPUT = "session.output_transcript.delta", "session.input_transcript.delta"


@asynccontextmanager
async def interpreted(url: str, model: str = "gpt-realtime-translate", **query: str) -> AsyncIterator[Person]:
    async with (
        AsyncOpenAI(api_key="none", base_url=f"{url}/v1") as client,
        client.realtime.translations.connect(model=model, extra_query=query) as connection,
    ):
        someone = Person(connection)
        await someone.until("session.created")
        yield someone


async def say(someone: Person, pcm: bytes) -> None:
    size = 2 * RATE // 5
    for at in range(0, len(pcm), size):
        await someone.connection.session.input_audio_buffer.append(audio=base64_of(pcm[at : at + size]))


def text(someone: Person, kind: str = OUTPUT) -> str:
    return "".join(event["delta"] for event in someone.all(kind))


async def test_spanish_comes_back_as_english_text_and_sound_and_as_what_it_was(server_url: str):
    async with interpreted(server_url, transcription_model="whisper-1", speech_model=PIPER) as someone:
        await someone.connection.session.update(session={"audio": {"output": {"language": "en", "voice": "joe"}}})  # type: ignore[typeddict-unknown-key]
        await someone.until("session.updated")
        await say(someone, pcm_of(CLIP))
        await someone.connection.session.close()
        await someone.until("session.closed")
        assert [event async for event in someone.connection] == []  # the server hangs up
    assert ENGLISH_OF_SPANISH.fullmatch(plain(text(someone)))
    assert text(someone, INPUT) == SPANISH
    sound = b"".join(base64.b64decode(event["delta"]) for event in someone.all("session.output_audio.delta"))
    assert await asyncio.to_thread(understood, server_url, wav(sound, RATE)) == nearly(text(someone))
    assert "error" not in someone.names


async def test_a_turn_is_translated_when_it_ends_and_the_next_one_follows(server_url: str):
    turn = pcm_of(CLIP) + bytes(2 * RATE)
    async with interpreted(server_url, speech_model=PIPER) as someone:
        await someone.connection.session.update(session={"output_modalities": ["text"]})  # type: ignore[typeddict-unknown-key]
        await say(someone, turn + turn)
        await someone.find(lambda _: text(someone).count("Madrid") == 2, what="both turns")
        await someone.connection.session.close()
        await someone.until("session.closed")
    # Whisper puts the same words in another way when it hears them a second time.
    assert re.fullmatch(r"(Madrid is the (capital of Spain|Spanish capital)\. ?){2}", text(someone))
    assert not {INPUT, "session.output_audio.delta", "error"} & set(someone.names)


async def test_another_language_than_english_is_an_error_and_the_session_goes_on(server_url: str):
    async with interpreted(server_url) as someone:
        await someone.connection.session.update(session={"audio": {"output": {"language": "es"}}})
        assert "into English only" in (await someone.until("error"))["error"]["message"]
        await someone.connection.session.close()
        await someone.until("session.closed")


async def test_a_model_that_does_not_translate_is_an_error_that_names_one_that_does(server_url: str):
    async with interpreted(server_url, model=PIPER) as someone:
        assert PIPER in (await someone.until("error"))["error"]["message"]


async def test_what_the_query_asks_in_vain_is_refused_before_the_session(server_url: str):
    address = f"ws{server_url.removeprefix('http')}/v1/realtime/translations"
    for query, param in (("?language=klingon", "language"), ("?call_id=1", "call_id")):
        with pytest.raises(InvalidStatus) as denied:
            async with connect(address + query):
                pass
        answer: dict[str, Any] = json.loads(denied.value.response.body or b"{}")
        assert denied.value.response.status_code == 400
        assert param in answer["error"]["message"]
