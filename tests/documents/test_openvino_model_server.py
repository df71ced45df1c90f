"""OpenVINO Model Server's audio demo: speech, transcription and translation under /v3, by its own models' names.

SpeechT5's weights cannot be had here: its requests go to networks of its names and shapes, and a real voice makes the
file that is transcribed.
"""

from __future__ import annotations

import io
import json
import os
import re
import wave
from collections.abc import Iterator
from pathlib import Path

import pytest

from speech_server.models.disk.cache import Cache, default_root
from tests.conftest import PIPER, ServerProcess
from tests.documents.replaying import SPANISH, python, recording, shell
from tests.speech_server.engines.speecht5.tiny import write_model
from tests.speech_server.models.conftest import install
from tests.talking import nearly, plain

PROMPT = "The quick brown fox jumped over the lazy dog"
SPANISH_MODEL = "Sandiago21/speecht5_finetuned_facebook_voxpopuli_spanish"
SPEAK = (
    'curl {url}/v3/audio/speech -H "Content-Type: application/json" '
    r'-d "{\"model\": \"%s\", \"input\": \"%s\"}" -o speech_spanish.wav'
)
SPEAK_IN_PYTHON = """
from pathlib import Path
from openai import OpenAI

prompt = "The quick brown fox jumped over the lazy dog"
filename = "speech.wav"
url="http://localhost:8000/v3"


speech_file_path = Path(__file__).parent / "speech.wav"
client = OpenAI(base_url=url, api_key="not_used")

with client.audio.speech.with_streaming_response.create(
  model="microsoft/speecht5_tts",
  voice="unused",
  input=prompt
) as response:
  response.stream_to_file(speech_file_path)


print("Generation finished")
"""
HEAR = """
curl {url}/v3/audio/%s -H "Content-Type: multipart/form-data" -F file="@%s" -F model="OpenVINO/whisper-base-fp16-ov"
"""
HEAR_IN_PYTHON = """
from pathlib import Path
from openai import OpenAI

filename = "%s"
url="http://localhost:8000/v3"


speech_file_path = Path(__file__).parent / filename
client = OpenAI(base_url=url, api_key="not_used")

audio_file = open(filename, "rb")
heard = client.audio.%s.create(
  model="OpenVINO/whisper-base-fp16-ov",
  file=audio_file
)

print(heard.text)
"""

_TOOL = "OpenVINO's own program and the internet"
_SERVER = "another server's image or program"
NOT_HERE = {
    "curl .../export_model.py": _TOOL,
    "pip3 install -r .../export_models/requirements.txt": _TOOL,
    "python export_model.py text2speech --source_model microsoft/speecht5_tts": f"{_TOOL}; here `models pull`",
    "python export_model.py text2speech --source_model Sandiago21/...": f"{_TOOL}; here optimum, docs/models.md",
    "python export_model.py speech2text": f"{_TOOL}; here `models convert`, which has tests of its own",
    "docker run openvino/model_server --model_path /models/microsoft/speecht5_tts": _SERVER,
    "docker run openvino/model_server --model_name speecht5_tts_spanish": _SERVER,
    "docker run openvino/model_server --source_model openai/whisper-large-v3-turbo": _SERVER,
    "docker run openvino/model_server --source_model OpenVINO/whisper-base-fp16-ov": _SERVER,
    "ovms --task text2speech": _SERVER,
    "ovms --task speech2text": _SERVER,
    "speech of microsoft/speecht5_tts, listened to": "its weights, 613 MB, cannot be had here",
    "speech of Sandiago21/..., listened to": "its weights cannot be had here, nor PyTorch to export them",
}

pytestmark = pytest.mark.xdist_group("replays")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    hub = tmp_path_factory.mktemp("hub")
    install(Cache(hub), "Xenova/speecht5_tts", write_model)
    exported = write_model(tmp_path_factory.mktemp("exported"), place="")
    spanish = {"url": f"file://{exported}", "task": "text-to-speech", "args": {"language": "es"}}
    names = [SPANISH_MODEL, "speecht5_tts_spanish"]
    server = ServerProcess(
        {
            "HF_HUB_CACHE": str(hub),
            "MODEL_READ_CACHES": json.dumps([str(default_root())]),
            "MODELS": json.dumps([{"name": name, **spanish} for name in names]),
        }
    )
    yield server.url
    server.stop()


def at(url: str, text: str) -> str:
    return text.replace("{url}", url).replace("http://localhost:8000", url)


def seconds(file: Path) -> float:
    with wave.open(io.BytesIO(file.read_bytes())) as sound:
        assert (sound.getframerate(), sound.getnchannels(), sound.getsampwidth()) == (16_000, 1, 2)
        return sound.getnframes() / sound.getframerate()


@pytest.mark.parametrize(
    ("model", "text"),
    [(SPANISH_MODEL, "¿Qué es OpenVino?"), ("speecht5_tts_spanish", "Madrid es la capital de España")],
)
def test_speech_by_curl_is_a_wav_file(url: str, tmp_path: Path, model: str, text: str):
    shell(tmp_path, at(url, SPEAK % (model, text)))
    assert seconds(tmp_path / "speech_spanish.wav") > 0.5


def test_speech_by_the_official_client_is_a_wav_file(url: str, tmp_path: Path):
    assert python(tmp_path, at(url, SPEAK_IN_PYTHON)) == "Generation finished\n"
    assert seconds(tmp_path / "speech.wav") > 1


@pytest.fixture
def spoken(url: str, tmp_path: Path) -> Path:
    """speech.wav and speech_spanish.wav, as the commands before would have left them."""
    python(tmp_path, at(url, SPEAK_IN_PYTHON.replace("microsoft/speecht5_tts", PIPER)))
    (tmp_path / "speech_spanish.wav").write_bytes(recording("wav", SPANISH))
    return tmp_path


def test_transcription_by_curl(url: str, spoken: Path):
    answered = json.loads(shell(spoken, at(url, HEAR % ("transcriptions", "speech.wav"))))
    assert plain(answered["text"]) == nearly(PROMPT)


def test_transcription_by_the_official_client(url: str, spoken: Path):
    printed = python(spoken, at(url, HEAR_IN_PYTHON % ("speech.wav", "transcriptions")))
    assert plain(printed) == nearly(PROMPT)


def test_translation_by_curl(url: str, spoken: Path):
    answered = json.loads(shell(spoken, at(url, HEAR % ("translations", "speech_spanish.wav"))))
    assert {"madrid", "capital"} <= set(plain(answered["text"]).split())


def test_translation_by_the_official_client(url: str, spoken: Path):
    printed = python(spoken, at(url, HEAR_IN_PYTHON % ("speech_spanish.wav", "translations")))
    assert {"madrid", "capital"} <= set(plain(printed).split())


@pytest.mark.parametrize("model", ["microsoft/speecht5_tts", SPANISH_MODEL, "speecht5_tts_spanish"])
def test_a_model_that_is_not_installed_says_in_one_line_how_it_would_be(server_url: str, tmp_path: Path, model: str):
    if os.environ.get("HF_HUB_OFFLINE") != "1":
        pytest.skip("a hub is in reach: the model would be fetched")
    command = at(server_url, SPEAK % (model, PROMPT)).replace(" -o speech_spanish.wav", " || true")
    said = json.loads(shell(tmp_path, command))["error"]
    assert said["code"] == "model_not_found"
    assert re.match(r"Model '[\w/-]+' is not installed locally: .+", said["message"])
    assert "\n" not in said["message"]
    assert ("optimum-cli export onnx" in said["message"]) == ("spanish" in model)


@pytest.mark.parametrize("command", NOT_HERE)
def test_what_cannot_be_had_here(command: str):
    pytest.skip(f"{command}: {NOT_HERE[command]}")
