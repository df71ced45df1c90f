"""OpenAI's own Python client, under each of the four prefixes."""

from __future__ import annotations

import io
import wave
from collections.abc import Iterator
from pathlib import Path

import av
import openai
import pytest

from tests.conftest import KOKORO, PIPER, WHISPER

PREFIXES = ("/v1", "/v3", "/openai/v1", "/api/v1")


@pytest.fixture(params=PREFIXES)
def client(request: pytest.FixtureRequest, server_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server_url + request.param, api_key="ignore", max_retries=0, timeout=60) as client:
        yield client


@pytest.fixture
def v1(server_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server_url + "/v1", api_key="ignore", max_retries=0, timeout=60) as client:
        yield client


def test_transcription(client: openai.OpenAI, english: Path):
    transcription = client.audio.transcriptions.create(model="whisper-1", file=english)
    assert "quick brown fox" in transcription.text
    assert transcription.usage
    assert transcription.usage.type == "duration"


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # OpenAI's own route; others keep it
def test_translation(client: openai.OpenAI, spanish: Path):
    assert "Madrid" in client.audio.translations.create(model=WHISPER, file=spanish).text


def test_speech(client: openai.OpenAI, tmp_path: Path):
    with client.audio.speech.with_streaming_response.create(model=PIPER, voice="unused", input="Hello.") as response:
        response.stream_to_file(tmp_path / "speech")
    with av.open(str(tmp_path / "speech")) as container:
        codec = "pcm_s16le" if "/v3/" in str(client.base_url) else "mp3"  # OpenVINO's clients write it into a .wav
        assert container.streams.audio[0].codec_context.name.startswith(codec)


def test_models(client: openai.OpenAI):
    assert WHISPER in [model.id for model in client.models.list()]
    assert client.models.retrieve(KOKORO).owned_by


@pytest.mark.parametrize("shape", ["text", "srt", "vtt"])
def test_text_formats_are_strings(v1: openai.OpenAI, english: Path, shape: str):
    text = v1.audio.transcriptions.create(model=WHISPER, file=english, response_format=shape)  # type: ignore[call-overload]
    assert isinstance(text, str)
    assert "fox" in text


def test_verbose_json_with_words_and_segments(v1: openai.OpenAI, english: Path):
    verbose = v1.audio.transcriptions.create(
        model=WHISPER, file=english, response_format="verbose_json", timestamp_granularities=["word", "segment"]
    )
    assert verbose.words
    assert verbose.segments
    assert [word.word for word in verbose.words[:2]] == ["The", "quick"]
    assert float(verbose.duration) == pytest.approx(5.3, abs=0.2)


def test_logprobs(v1: openai.OpenAI, english: Path):
    transcription = v1.audio.transcriptions.create(model=WHISPER, file=english, include=["logprobs"])
    assert transcription.logprobs


def test_todays_names_and_fields(v1: openai.OpenAI, english: Path):
    heard = v1.audio.transcriptions.create(
        model="gpt-transcribe", file=english, languages=["es", "en"], keywords=["quick brown fox"]
    )
    assert "quick brown fox" in heard.text
    assert [language.code for language in heard.languages or ()] == ["en"]
    assert not heard.model_extra


def test_streamed_logprobs_are_those_of_each_delta_and_in_the_end_of_all(v1: openai.OpenAI, english: Path):
    told: list[str | None] = []
    with v1.audio.transcriptions.create(
        model="gpt-4o-mini-transcribe-2025-12-15", file=english, stream=True, include=["logprobs"]
    ) as stream:
        for event in stream:
            if event.type == "transcript.text.delta":
                assert "".join(entry.token or "" for entry in event.logprobs or ()).strip() == event.delta.strip()
                told += [entry.token for entry in event.logprobs or ()]
            elif event.type == "transcript.text.done":
                assert [entry.token for entry in event.logprobs or ()] == told
                assert [language.code for language in event.languages or ()] == ["en"]
    assert told


def test_a_chunking_strategy_of_ones_own(v1: openai.OpenAI, english: Path):
    strategy = {"type": "server_vad", "silence_duration_ms": 1000, "threshold": 0.5}
    transcription = v1.audio.transcriptions.create(model=WHISPER, file=english, chunking_strategy=strategy)  # type: ignore[call-overload]
    assert "quick brown fox" in transcription.text


def test_streamed_transcription(v1: openai.OpenAI, english: Path):
    text = ""
    with v1.audio.transcriptions.create(model=WHISPER, file=english, stream=True) as stream:
        for event in stream:
            if event.type == "transcript.text.delta":
                text += event.delta
            elif event.type == "transcript.text.done":
                assert event.text == text
    assert "quick brown fox" in text


def test_a_voice_may_be_an_object_with_its_id(v1: openai.OpenAI):
    model = "gpt-4o-mini-tts-2025-12-15"
    assert v1.audio.speech.create(model=model, voice={"id": "af_heart"}, input="Hi.", response_format="wav").content
    with pytest.raises(openai.BadRequestError):
        v1.audio.speech.create(model=model, voice={"id": "voice_1234"}, input="Hi.")


@pytest.mark.parametrize("model", [KOKORO, PIPER, "tts-1"])
def test_speech_is_audio_somebody_understands(v1: openai.OpenAI, model: str):
    spoken = v1.audio.speech.create(
        model=model, voice="alloy", input="The weather is nice today.", response_format="wav"
    )
    with wave.open(io.BytesIO(spoken.content)) as audio:
        assert audio.getnframes() / audio.getframerate() > 0.8
    heard = v1.audio.transcriptions.create(model=WHISPER, file=("speech.wav", spoken.content), language="en")
    assert "weather is nice today" in heard.text


def test_speech_as_events(v1: openai.OpenAI):
    with v1.audio.speech.with_streaming_response.create(
        model=PIPER, voice="joe", input="Hello.", stream_format="sse", response_format="pcm"
    ) as response:
        lines = [line for line in response.iter_lines() if line]
    assert '"speech.audio.delta"' in lines[0]
    assert '"speech.audio.done"' in lines[-1]


def test_errors_are_the_clients_own(v1: openai.OpenAI, english: Path):
    with pytest.raises(openai.NotFoundError) as missing:
        v1.audio.transcriptions.create(model="nobody/nothing", file=english)
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as empty:
        v1.audio.speech.create(model=PIPER, voice="joe", input=" ")
    assert empty.value.param == "input"
    with pytest.raises(openai.UnprocessableEntityError):
        v1.audio.speech.create(model=PIPER, voice="joe", input="Hi.", speed=9)
