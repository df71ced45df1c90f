"""KubeAI's speech-to-text runtime: a model under the user's own name, a video, the official client."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import WHISPER, ServerProcess
from tests.documents.replaying import ENGLISH_WORDS, file_server, python, recording, shell
from tests.talking import nearly, plain

MODEL = "audiomodel-123zxc"
CLIENT = """
from openai import OpenAI

client = OpenAI(base_url=f"http://{KUBEAI_ENDPOINT}/openai/v1", api_key="ignore")
audio_file= open("kubeai.mp4", "rb")

transcription = client.audio.transcriptions.create(
    model=f"audiomodel-123zxc",
    file=audio_file
)

print(transcription.text)
"""

pytestmark = pytest.mark.xdist_group("replays")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """What `new_function(..., model_name="audiomodel", url="hf://Systran/...")` asks for, as a models file says it."""
    server = ServerProcess({"MODELS": json.dumps([{"name": MODEL, "url": f"hf://{WHISPER}"}])})
    yield server.url
    server.stop()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "kubeai.mp4").write_bytes(recording("mp4", video=True))
    return tmp_path


def test_the_video_is_fetched(folder: Path, tmp_path_factory: pytest.TempPathFactory):
    if not shutil.which("wget"):
        pytest.skip("no wget here")
    fetched = tmp_path_factory.mktemp("fetched")
    with file_server(folder) as files:
        shell(fetched, f"wget -q -O kubeai.mp4 {files}/kubeai.mp4")
    assert (fetched / "kubeai.mp4").read_bytes() == (folder / "kubeai.mp4").read_bytes()


def test_the_official_client_hears_the_video_by_the_models_own_name(url: str, folder: Path):
    here = f"KUBEAI_ENDPOINT = {url.removeprefix('http://')!r}\n"
    assert plain(python(folder, here + CLIENT)) == nearly(ENGLISH_WORDS)


def test_the_endpoint_answers_as_the_text_names_it(url: str, folder: Path):
    answered = shell(folder, f"curl {url}/openai/v1/transcriptions -F file=@kubeai.mp4 -F model={MODEL}")
    assert plain(json.loads(answered)["text"]) == nearly(ENGLISH_WORDS)


@pytest.mark.parametrize("command", ["project.new_function(...)", 'audio_function.run(action="serve")'])
def test_what_only_the_platform_can_run(command: str):
    pytest.skip(f"{command}: wants the platform's SDK and a cluster; what it asks for is the models file above")
