"""The official client, unmodified, on a queue endpoint: what it asks of a server, it gets from jobs."""

from __future__ import annotations

import io
from collections.abc import Iterator

import av
import httpx
import openai
import pytest

from tests.conftest import PIPER, WHISPER
from tests.endpoint.gateway.conftest import RunningGateway
from tests.speech_server.conftest import ENGLISH

WORDS = "quick brown fox"


@pytest.fixture
def client(gateway: RunningGateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="anything", max_retries=0) as client:
        yield client


def test_a_transcription_is_json_or_text(client: openai.OpenAI):
    heard = client.audio.transcriptions.create(model=WHISPER, file=ENGLISH)
    assert WORDS in heard.text
    subtitles = client.audio.transcriptions.create(model=WHISPER, file=ENGLISH, response_format="srt")
    assert subtitles.startswith("1\n00:00:0")
    verbose = client.audio.transcriptions.create(
        model=WHISPER, file=ENGLISH, response_format="verbose_json", timestamp_granularities=["word"]
    )
    assert verbose.words
    assert verbose.words[0].word == "The"


def test_a_transcription_is_streamed(client: openai.OpenAI):
    events = list(client.audio.transcriptions.create(model=WHISPER, file=ENGLISH, stream=True))
    assert [event.type for event in events][-1] == "transcript.text.done"
    assert WORDS in "".join(event.delta for event in events if event.type == "transcript.text.delta")


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # OpenAI's word, about its own models
def test_a_translation(client: openai.OpenAI):
    assert WORDS in client.audio.translations.create(model=WHISPER, file=ENGLISH).text


def test_speech_is_bytes_whole_and_streamed(client: openai.OpenAI):
    order = {"model": PIPER, "voice": "joe", "input": "Hello there. " * 8}
    whole = client.audio.speech.create(**order, response_format="wav").content  # type: ignore[arg-type]
    with av.open(io.BytesIO(whole)) as container:
        assert container.format.name == "wav"
    with client.audio.speech.with_streaming_response.create(**order, response_format="mp3") as response:  # type: ignore[arg-type]
        assert response.headers["content-type"] == "audio/mpeg"
        assert len(list(response.iter_bytes())) > 1


def test_errors_are_those_of_the_server(client: openai.OpenAI):
    with pytest.raises(openai.NotFoundError, match="someone/unknown") as missing:
        client.audio.transcriptions.create(model="someone/unknown", file=ENGLISH)
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError):
        client.audio.speech.create(model=PIPER, voice="nobody", input="Hello.")
    with pytest.raises(openai.APIStatusError) as broken:
        client.audio.transcriptions.create(model=WHISPER, file=("a.wav", b"no sound at all"))
    assert broken.value.status_code == 415


def test_models_are_listed_without_a_job(client: openai.OpenAI, gateway: RunningGateway, queue_url: str):
    before = len(httpx.get(f"{queue_url}/requests", headers={"Authorization": "Bearer any"}).json()["requests"])
    assert "whisper-1" in [model.id for model in client.models.list()]
    assert httpx.get(f"{gateway.url}/health").json()["status"] == "ok"
    after = len(httpx.get(f"{queue_url}/requests", headers={"Authorization": "Bearer any"}).json()["requests"])
    assert after == before


@pytest.mark.anyio
async def test_the_asynchronous_client(gateway: RunningGateway):
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/openai/v1", api_key="x", max_retries=0) as client:
        heard = await client.audio.transcriptions.create(model="whisper-1", file=ENGLISH)
    assert WORDS in heard.text


def test_answers_say_how_long_they_took(gateway: RunningGateway):
    with ENGLISH.open("rb") as file:
        reply = httpx.post(
            f"{gateway.url}/v1/audio/transcriptions", data={"model": WHISPER}, files={"file": file}, timeout=60
        )
    assert float(reply.headers["x-worker-seconds"]) > 0
    assert float(reply.headers["x-queue-seconds"]) >= 0
    assert "POST /v1/audio/transcriptions 200" in gateway.log
