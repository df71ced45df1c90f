"""EasyDeL's Whisper server: the requests of its client, every parameter, the five formats, its models' names."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.documents.replaying import ENGLISH_WORDS, python, recording, shell
from tests.talking import nearly, plain

# As written, but for host and size.
CLIENT = """
import requests

# For transcription
files = {"file": open("audio.mp3", "rb")}
data = {"model": "whisper-base", "response_format": "json"}
response = requests.post("http://localhost:8000/v1/audio/transcriptions", files=files, data=data)
result = response.json()
print(result["text"])

# For translation
files = {"file": open("audio.mp3", "rb")}
data = {"model": "whisper-base", "response_format": "json"}
response = requests.post("http://localhost:8000/v1/audio/translations", files=files, data=data)
result = response.json()
print(result["text"])
"""
MODELS = {
    "openai/whisper-base": None,
    **dict.fromkeys(
        [f"openai/whisper-{size}" for size in ("tiny", "small", "medium", "large-v3-turbo", "large-v3")],
        "its weights cannot be had here",
    ),
}
_EASYDEL = "EasyDeL itself, and JAX"
NOT_HERE = {
    'pip install "fastapi[all]" uvicorn easydel': _EASYDEL,
    "python -m easydel.inference.vwhisper.cli --model ... --port 8000": f"{_EASYDEL}; here `python -m speech_server`",
    "ed.inference.vwhisper.run_server(...)": f"{_EASYDEL}; here `speech_server.run_server`, which has its own test",
    "python examples/whisper_server_example.py": f"{_EASYDEL}, in its repository",
    "python examples/whisper_client_example.py audio.mp3": f"{_EASYDEL}; it asks for one of the requests above",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "audio.mp3").write_bytes(recording("mp3"))
    return tmp_path


def ask(url: str, folder: Path, route: str, **fields: str) -> str:
    form = " ".join(f"-F '{name}={value}'" for name, value in ({"model": "openai/whisper-base"} | fields).items())
    return shell(folder, f"curl {url}/v1/audio/{route} -F file=@audio.mp3 {form}")


def test_the_client_prints_both_texts(server_url: str, folder: Path):
    heard, translated = python(folder, CLIENT.replace("http://localhost:8000", server_url)).splitlines()
    assert plain(heard) == nearly(ENGLISH_WORDS)
    assert plain(translated) == nearly(ENGLISH_WORDS)


@pytest.mark.parametrize("route", ["transcriptions", "translations"])
@pytest.mark.parametrize("response_format", ["json", "text", "srt", "verbose_json", "vtt"])
def test_each_format_has_the_words(server_url: str, folder: Path, route: str, response_format: str):
    answered = ask(server_url, folder, route, response_format=response_format)
    match response_format:
        case "json" | "verbose_json":
            answered = json.loads(answered)["text"]
        case "srt" | "vtt":
            assert answered.startswith("1\n00:00:00," if response_format == "srt" else "WEBVTT\n")
            answered = re.sub(r"^(WEBVTT|\d+|[\d:,.]+ --> .*)$", "", answered, flags=re.MULTILINE)
    assert plain(answered) == nearly(ENGLISH_WORDS)


@pytest.mark.parametrize("route", ["transcriptions", "translations"])
def test_every_parameter_is_taken_and_segments_have_the_documents_shape(server_url: str, folder: Path, route: str):
    fields = {"prompt": "A fox and a dog.", "temperature": "0", "timestamp_granularities": "segment"}
    if route == "transcriptions":
        fields["language"] = "en"
    answered: dict[str, Any] = json.loads(ask(server_url, folder, route, response_format="verbose_json", **fields))
    assert plain(" ".join(segment["text"] for segment in answered["segments"])) == nearly(ENGLISH_WORDS)
    assert plain(answered["text"]) == nearly(ENGLISH_WORDS)
    assert all(segment["start"] < segment["end"] for segment in answered["segments"])


def test_words_have_times_when_asked_for(server_url: str, folder: Path):
    asked = {"response_format": "verbose_json", "timestamp_granularities": "word"}
    words = json.loads(ask(server_url, folder, "transcriptions", **asked))["words"]
    assert plain(" ".join(word["word"] for word in words)) == nearly(ENGLISH_WORDS)
    times = [time for word in words for time in (word["start"], word["end"])]
    assert times == sorted(times)


@pytest.mark.parametrize("model", MODELS)
def test_a_model_of_the_list_hears_by_its_name(server_url: str, folder: Path, model: str):
    if why := MODELS[model]:
        pytest.skip(f"{model}: {why}")
    assert plain(json.loads(ask(server_url, folder, "transcriptions", model=model))["text"]) == nearly(ENGLISH_WORDS)


@pytest.mark.parametrize("command", NOT_HERE)
def test_what_cannot_be_had_here(command: str):
    pytest.skip(f"{command}: {NOT_HERE[command]}")
