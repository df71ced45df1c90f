"""Speaches on Runpod Serverless: every job of the document, to /runsync of a real worker under local_runpod."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI
from websockets.asyncio.client import connect

from tests.conftest import KOKORO, ROOT, WHISPER, ServerProcess
from tests.documents.replaying import ENGLISH_WORDS, file_server, recording
from tests.local_runpod.local_platform import LocalPlatform
from tests.stand_in_llm import StandInLLM, stand_in_llm
from tests.talking import RATE, SILENCE, nearly, plain

TINY = "Systran/faster-whisper-tiny.en"  # in the document; here the size that is installed
ALIASES = """
{
  "whisper-1": "Systran/faster-whisper-large-v3",
  "tts-1": "speaches-ai/Kokoro-82M-v1.0-ONNX"
}
"""
SPEECH = """
{
  "input": {
    "method": "POST",
    "path": "/v1/audio/speech",
    "body": {
      "model": "speaches-ai/Kokoro-82M-v1.0-ONNX",
      "input": "Hello from Runpod! This is text-to-speech in action.",
      "voice": "af_heart"
    }
  }
}
"""
TRANSCRIPTION = """
{
  "input": {
    "method": "POST",
    "path": "/v1/audio/transcriptions",
    "file_url": "https_url_to_your_public_audio_file.wav",
    "body": {
        "model": "Systran/faster-whisper-tiny.en"
    }
  }
}
"""
VOICE_ACTIVITY = """
{
  "input": {
    "method": "POST",
    "path": "/v1/audio/speech/timestamps",
    "file_url": "https_url_to_your_public_audio_file.wav"
  }
}
"""
VOICE_CHAT = """
{
  "input": {
    "method": "POST",
    "path": "/v1/chat/completions",
    "body": {
      "model": "gpt-4o-mini",
      "messages": [
        {
          "role": "user",
          "content": [
            {
              "type": "text",
              "text": "What is in this recording?"
            },
            {
              "type": "input_audio",
              "input_audio": {
                "data": "<base64_encoded_audio_data>",
                "format": "wav"
              }
            }
          ]
        }
      ],
      "modalities": ["text", "audio"],
      "audio": {
        "voice": "alloy",
        "format": "wav"
      }
    }
  }
}
"""
REALTIME = "/v1/realtime?model=Systran/faster-whisper-tiny.en&intent=transcription&api_key=your-api-key"
ANSWER = "Somebody speaks of a fox and a dog."

pytestmark = pytest.mark.xdist_group("replays")


class Endpoint:
    """The document's endpoint, and the public address of its audio file."""

    def __init__(self, platform: LocalPlatform, files: str, llm: StandInLLM) -> None:
        self.platform, self.files, self.llm = platform, files, llm

    def send(self, job: str, **replaced: str) -> Any:
        """The output of a job, which must be completed."""
        places = {TINY: WHISPER, "https_url_to_your_public_audio_file.wav": f"{self.files}/speech.wav"} | replaced
        for theirs, ours in places.items():
            job = job.replace(theirs, ours)
        ended = self.platform.runsync(json.loads(job)["input"])
        assert ended["status"] == "COMPLETED", ended
        return ended["output"]


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    folder = tmp_path_factory.mktemp("public")
    (folder / "speech.wav").write_bytes(recording("wav"))
    (folder / "model_aliases.json").write_text(ALIASES.replace("Systran/faster-whisper-large-v3", WHISPER))
    with file_server(folder) as files, stand_in_llm(ANSWER) as llm:
        env = {
            "MODEL_ALIASES_FILE": str(folder / "model_aliases.json"),
            "MODEL_LOAD_TIMEOUT": "300",
            "HF_HUB_ENABLE_HF_TRANSFER": "1",
            "RUNPOD_ALLOW_PRIVATE_DOWNLOAD_URLS": "true",  # the file's address is this machine's
            "CHAT_COMPLETION_BASE_URL": llm.url,
        }
        with LocalPlatform([sys.executable, "-u", "handler.py"], env=env) as platform:
            yield Endpoint(platform, files, llm)


def job(method: str, path: str) -> str:
    return json.dumps({"input": {"method": method, "path": path}})


def hear(endpoint: Endpoint, audio: str) -> str:
    order = {"path": "/v1/audio/transcriptions", "body": {"model": WHISPER}, "file_base64": audio}
    return plain(endpoint.send(json.dumps({"input": order}))["text"])


def test_text_to_speech(endpoint: Endpoint):
    output = endpoint.send(SPEECH)
    assert output.keys() == {"status", "content_type", "audio_content"}
    assert output["status"] == "success"
    # The document shows a WAV. Where no format is asked for it is MP3, as at OpenAI; examples/jobs asks for WAV.
    assert output["content_type"] in ("audio/wav", "audio/mpeg")
    words = hear(endpoint, output["audio_content"])
    assert words.startswith("hello from")
    assert words.endswith("in action")


def test_speech_to_text(endpoint: Endpoint):
    output = endpoint.send(TRANSCRIPTION)
    assert plain(output["text"]) == nearly(ENGLISH_WORDS)


@pytest.mark.parametrize("path", ["/v1/models", "/v1/registry"])
def test_lists_of_models(endpoint: Endpoint, path: str):
    tasks = {model["id"]: model["task"] for model in endpoint.send(job("GET", path))["data"]}
    assert tasks[WHISPER] == "automatic-speech-recognition"
    assert tasks[KOKORO] == "text-to-speech"
    if path == "/v1/registry":
        assert tasks[TINY] == tasks["Systran/faster-whisper-small.en"] == "automatic-speech-recognition"


def test_voice_activity(endpoint: Endpoint):
    spans = endpoint.send(VOICE_ACTIVITY)
    assert spans
    assert all(span.keys() == {"start", "end"} and 0 <= span["start"] < span["end"] for span in spans)
    assert all(type(time) is int for span in spans for time in span.values())  # milliseconds


def test_models_are_loaded_listed_and_unloaded(endpoint: Endpoint):
    endpoint.send(TRANSCRIPTION)  # whatever ran before, it is in memory now
    endpoint.send(job("DELETE", f"/api/ps/{TINY}"))
    assert WHISPER not in endpoint.send(job("GET", "/api/ps"))["models"]
    endpoint.send(job("POST", f"/api/ps/{TINY}"))
    assert WHISPER in endpoint.send(job("GET", "/api/ps"))["models"]


def test_voice_chat(endpoint: Endpoint):
    data = base64.b64encode(recording("wav")).decode()
    output = endpoint.send(VOICE_CHAT, **{"<base64_encoded_audio_data>": data})
    (choice,) = output["choices"]
    sound = choice["message"]["audio"]
    assert plain(sound["transcript"]) == plain(ANSWER)
    assert base64.b64decode(sound["data"]).startswith(b"RIFF")
    assert hear(endpoint, sound["data"]) == nearly(ANSWER)
    _, asked = endpoint.llm.requests[-1]
    question, heard = asked["messages"][0]["content"].split("\n")
    assert (asked["model"], question, plain(heard)) == (
        "gpt-4o-mini",
        "What is in this recording?",
        nearly(ENGLISH_WORDS),
    )


def test_aliases_mean_their_models(endpoint: Endpoint):
    assert plain(endpoint.send(TRANSCRIPTION, **{TINY: "whisper-1"})["text"]) == nearly(ENGLISH_WORDS)
    assert endpoint.send(SPEECH, **{KOKORO: "tts-1"})["status"] == "success"


# The endpoint's own address, which Runpod gives to load-balancing endpoints.


def test_open_webuis_client_needs_any_key(server: ServerProcess, tmp_path: Path):
    (tmp_path / "speech.wav").write_bytes(recording("wav"))
    with (
        OpenAI(base_url=f"{server.url}/v1", api_key="does-not-matter") as client,
        (tmp_path / "speech.wav").open("rb") as file,
    ):
        assert plain(client.audio.transcriptions.create(model=WHISPER, file=file).text) == nearly(ENGLISH_WORDS)


@pytest.mark.anyio
async def test_the_realtime_api_transcribes_what_is_said(server: ServerProcess):
    address = f"ws{server.url.removeprefix('http')}{REALTIME.replace(TINY, WHISPER)}"
    sound = recording_at_24_khz() + 2 * SILENCE
    heard = []
    async with connect(address) as socket, asyncio.timeout(60):
        assert json.loads(await socket.recv())["type"] == "session.created"
        for start in range(0, len(sound), RATE):
            audio = base64.b64encode(sound[start : start + RATE]).decode()
            await socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": audio}))
        while not plain(" ".join(heard)).endswith("second"):
            event = json.loads(await socket.recv())
            assert event["type"] != "error", event
            if event["type"] == "conversation.item.input_audio_transcription.completed":
                heard.append(event["transcript"])
    assert plain(" ".join(heard)) == nearly(ENGLISH_WORDS)


def recording_at_24_khz() -> bytes:
    import soxr

    from speech_server.audio import decode
    from speech_server.domain import RATE as OURS

    clip = ROOT / "examples/clips/english.opus"
    parts = [soxr.resample(part, OURS, RATE) for part in decode.stream(clip, decode.Limits(60))]
    return b"".join((part * 32767).astype("<i2").tobytes() for part in parts)


NOT_HERE = {
    "wss://api.runpod.ai/v2/ID/runsync/v1/realtime": "Runpod has no such address; its path and query are above",
    "docker build -t your-dockerhub-username/speaches-runpod:latest .": "wants Docker; the Dockerfile has tests",
    "docker push your-dockerhub-username/speaches-runpod:latest": "wants an account at a registry",
    "Systran/faster-whisper-tiny.en": "its weights cannot be had here: base stands in",
}


@pytest.mark.parametrize("command", NOT_HERE)
def test_what_cannot_be_had_here(command: str):
    pytest.skip(f"{command}: {NOT_HERE[command]}")
