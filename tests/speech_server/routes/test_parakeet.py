"""A tiny Parakeet over HTTP, in every format, streamed and live; and `auto`, which chooses between it and Whisper."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soxr
from openai import AsyncOpenAI

from speech_server.audio import decode
from speech_server.domain import RATE, Samples
from speech_server.models.disk.cache import Cache
from tests import talking
from tests.conftest import WHISPER, ServerProcess
from tests.sound import wav
from tests.speech_server.conftest import ENGLISH
from tests.speech_server.engines.parakeet_maker import make_parakeet, tones
from tests.speech_server.models.conftest import REAL_CACHE, install
from tests.speech_server.routes.test_transcriptions import HEAR, events, plain
from tests.talking import ENGLISH_OF_SPANISH

V3 = "istupakov/parakeet-tdt-0.6b-v3-onnx"
SOUND = tones(500, 1500, 4000)


def pcm(samples: Samples) -> bytes:
    return (samples * 32767).astype(np.int16).tobytes()


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server with a Parakeet that hears tones, and the machine's Whisper."""
    home = tmp_path_factory.mktemp("home")
    install(Cache(home / "hub"), V3, make_parakeet)
    (home / "aliases.json").write_text('{"ears": "auto"}')
    env = {
        "HF_HOME": str(home),
        "MODEL_READ_CACHES": str(REAL_CACHE.root),
        "MODEL_ALIASES_FILE": str(home / "aliases.json"),
        "DEFAULT_STT_MODEL": WHISPER,
    }
    server = ServerProcess(env)
    yield server.url
    server.stop()


def ask(url: str, path: str = HEAR, audio: bytes | None = None, **form: Any) -> httpx.Response:
    """Tones are no speech: what is not speech is not left out."""
    given = {"model": "parakeet", "vad_filter": "false", **form}
    return httpx.post(url + path, files={"file": ("a.wav", audio or wav(pcm(SOUND)))}, data=given, timeout=60)


def test_json_and_text(both: str):
    usage = {"type": "duration", "seconds": 4}
    assert ask(both).json() == {"text": "alpha beta. gamma", "languages": [], "usage": usage}
    assert ask(both, response_format="text").text.strip() == "alpha beta. gamma"


def test_verbose_json_has_segments_words_and_the_language_that_was_given(both: str):
    asked = {"response_format": "verbose_json", "timestamp_granularities[]": ["word", "segment"]}
    body = ask(both, language="es", **asked).json()
    assert body["language"] == "es"
    assert [segment["text"] for segment in body["segments"]] == [" alpha beta.", " gamma"]
    assert [word["word"] for word in body["words"]] == ["alpha", "beta.", "gamma"]
    assert [word["start"] for word in body["words"]] == pytest.approx([0.5, 1.5, 2.5], abs=0.1)
    assert all(segment["tokens"] and segment["avg_logprob"] < 0 for segment in body["segments"])
    assert ask(both, **asked).json()["language"] == "und"


def test_subtitles_have_the_times_of_the_words(both: str):
    srt = ask(both, response_format="srt").text
    assert [line for line in srt.splitlines() if "alpha" in line or "gamma" in line] == ["alpha beta.", "gamma"]
    assert "1\n00:00:00,480 --> 00:00:0" in srt
    assert ask(both, response_format="vtt").text.startswith("WEBVTT\n\n00:00:00.480 --> ")


def test_logprobs_are_of_the_model_s_own_tokens(both: str):
    logprobs = ask(both, **{"include[]": "logprobs"}).json()["logprobs"]
    assert [entry["token"] for entry in logprobs] == [" al", "pha", " be", "ta", ".", " gam", "ma"]
    assert all(entry["logprob"] <= 0 for entry in logprobs)


def test_a_stream_has_a_delta_for_each_sentence_and_then_the_text(both: str):
    stream = events(ask(both, stream="true", without_timestamps="false").text)
    assert [event["delta"] for event in stream[:-1]] == ["alpha beta.", " gamma"]
    assert (stream[-1]["type"], stream[-1]["text"]) == ("transcript.text.done", "alpha beta. gamma")


def test_options_of_other_models_change_nothing(both: str):
    assert ask(both, prompt="A prompt", temperature="0.7", hotwords="names").json()["text"] == "alpha beta. gamma"


@pytest.mark.parametrize(
    ("path", "form", "said"),
    [
        (HEAR, {"language": "ja"}, f"'{V3}' does not know the language 'ja': use {WHISPER}"),
        (HEAR, {"language": "ja", "stream": "true"}, f"'{V3}' does not know the language 'ja': use {WHISPER}"),
        ("/v1/audio/translations", {}, f"'{V3}' does not translate: use {WHISPER}"),
    ],
)
def test_what_it_cannot_do_is_a_400_that_names_who_can(both: str, path: str, form: dict[str, str], said: str):
    refused = ask(both, path, **form)
    assert refused.status_code == 400
    assert said in refused.json()["error"]["message"]


def test_auto_hears_with_parakeet_what_it_knows(both: str):
    for name in ("auto", "ears"):
        assert ask(both, model=name, language="en").json()["text"] == "alpha beta. gamma"


def test_auto_lets_whisper_tell_the_language(both: str, english: Path):
    """It is English, so Parakeet hears it all: this one knows nothing but tones."""
    body = ask(both, model="auto", audio=english.read_bytes(), response_format="verbose_json").json()
    assert body["language"] == "en"
    assert "fox" not in body["text"]


def test_auto_gives_to_whisper_what_parakeet_cannot_do(both: str, english: Path, spanish: Path):
    heard = ask(both, model="auto", audio=english.read_bytes(), language="ja", response_format="verbose_json").json()
    assert (heard["language"], bool(heard["text"])) == ("ja", True)
    translated = ask(both, "/v1/audio/translations", model="auto", audio=spanish.read_bytes()).json()
    assert ENGLISH_OF_SPANISH.fullmatch(plain(translated["text"]))


def test_it_is_listed_with_its_languages_and_licence(both: str):
    models = {model["id"]: model for model in httpx.get(f"{both}/v1/models").json()["data"]}
    assert len(models[V3]["language"]) == 25
    assert WHISPER in models


@pytest.mark.anyio
async def test_a_live_session_is_heard_by_it(both: str):
    """Somebody speaks softly below the tones: a session has nothing transcribed in which nobody speaks."""
    audio = {"transcription": {"model": "parakeet", "language": "en"}, "turn_detection": None}
    speech = 0.2 * np.concatenate(list(decode.stream(ENGLISH, decode.Limits(60))))
    speech[: len(SOUND)] += SOUND
    sound = soxr.resample(speech, RATE, talking.RATE).astype(np.float32)
    async with (
        AsyncOpenAI(api_key="none", base_url=f"{both}/v1") as client,
        client.realtime.connect(model="parakeet", extra_query={"intent": "transcription"}) as connection,
    ):
        person = talking.Person(connection)
        await person.until("session.created")
        await person.send("session.update", session={"type": "transcription", "audio": {"input": audio}})
        await person.until("session.updated")
        await person.say(pcm(sound))
        await person.send("input_audio_buffer.commit")
        done = await person.until("conversation.item.input_audio_transcription.completed")
    assert "alpha beta" in done["transcript"]
