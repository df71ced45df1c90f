"""Models from a hub: huggingface_hub itself, in child processes, against a small server that speaks its API."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from speech_server.engines.interfaces import EngineArgs
from speech_server.engines.parakeet.files import INT8
from speech_server.engines.speecht5 import engine
from speech_server.engines.speecht5.voices import ARCTIC, ARCTIC_DATASET
from speech_server.models.disk.cache import Cache
from tests.conftest import ROOT
from tests.speech_server.engines.speecht5.tiny import write_model, write_vector
from tests.speech_server.models.conftest import parakeet_folder
from tests.speech_server.models.hub import FakeHub, running_hub
from tests.speech_server.networks import pyannote_folder, smart_turn_folder, wespeaker_folder

ID = "someone/whisper-tiny"
WEIGHTS = os.urandom(3_000_000)
FILES = {
    "README.md": b"# not wanted",
    "config.json": b"{}",
    "tokenizer.json": b"{}",
    "vocabulary.txt": b"a b",
    "model.bin": WEIGHTS,
}


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with running_hub() as server:
        server.repositories[ID] = FILES
        yield server


def pull(model_id: str, hub: str, **env: str) -> subprocess.CompletedProcess[str]:
    with start_pull(model_id, hub, **env) as process:
        output, errors = process.communicate(timeout=60)
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def start_pull(model_id: str, hub: str, **env: str) -> subprocess.Popen[str]:
    """In a process of its own: huggingface_hub reads its variables when it is imported."""
    return subprocess.Popen(
        [sys.executable, "-m", "speech_server", "models", "pull", model_id],
        cwd=ROOT,
        env=os.environ | {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": hub, "HF_HUB_DISABLE_XET": "1"} | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_only_what_the_engine_opens_is_downloaded(hub: FakeHub, cache: Cache):
    done = pull(ID, hub.url, HF_TOKEN="hf_secret")
    assert done.returncode == 0, done.stderr
    folder = cache.folder(ID)
    assert folder is not None
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        name: content for name, content in FILES.items() if name != "README.md"
    }
    assert {authorization for _, path, _, authorization in hub.requests if ID in path} == {"Bearer hf_secret"}
    hub.requests.clear()
    assert pull(ID, hub.url).stdout == f"{ID} is installed\n"
    assert hub.requests == []  # an installed model costs no network


def test_parakeet_is_pulled_by_its_alias_in_one_precision(hub: FakeHub, cache: Cache, tmp_path: Path):
    repository = {path.name: path.read_bytes() for path in parakeet_folder(tmp_path / "v3", float32=True).iterdir()}
    hub.repositories["istupakov/parakeet-tdt-0.6b-v3-onnx"] = repository | {"nemo128.onnx": b"onnx", "README.md": b"#"}
    done = pull("parakeet", hub.url)
    assert done.returncode == 0, done.stderr
    folder = cache.folder("istupakov/parakeet-tdt-0.6b-v3-onnx")
    assert folder is not None
    assert {path.name for path in folder.iterdir()} == {*INT8, "vocab.txt", "config.json"}
    assert "licence CC-BY-4.0" in done.stdout


PUBLISHED = {
    "Wespeaker/wespeaker-voxceleb-resnet34-LM": (wespeaker_folder, ["voxceleb_resnet34_LM.onnx"], "speaker-embedding"),
    "onnx-community/pyannote-segmentation-3.0": (
        pyannote_folder,
        ["onnx/model.onnx", "preprocessor_config.json"],
        "speaker-segmentation",
    ),
    "pipecat-ai/smart-turn-v3": (smart_turn_folder, ["smart-turn-v3.2-cpu.onnx"], "turn-detection"),
}


@pytest.mark.parametrize("model_id", PUBLISHED)
def test_small_networks_are_pulled_as_they_are_published(hub: FakeHub, cache: Cache, tmp_path: Path, model_id: str):
    make, taken, task = PUBLISHED[model_id]
    made = make(tmp_path / "made")
    files = {str(path.relative_to(made)): path.read_bytes() for path in made.rglob("*") if path.is_file()}
    hub.repositories[model_id] = files | {"README.md": b"# not wanted"}
    done = pull(model_id, hub.url)
    assert done.returncode == 0, done.stderr
    assert task in done.stdout
    folder = cache.folder(model_id)
    assert folder is not None
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) == taken


def test_what_was_finished_when_a_download_was_killed_is_not_fetched_again(hub: FakeHub, cache: Cache):
    hub.stall_at = 2_000_000
    with start_pull(ID, hub.url) as victim:
        assert hub.stalled.wait(30)
        victim.kill()
    assert cache.folder(ID) is None
    (partial,) = (cache.repository(ID) / "blobs").glob("*.incomplete")
    os.utime(partial, (0, 0))  # killed long ago
    hub.stall_at = None
    hub.resumed.set()
    hub.requests.clear()
    done = pull(ID, hub.url)
    assert done.returncode == 0, done.stderr
    assert hub.fetched == ["model.bin"]
    folder = cache.folder(ID)
    assert folder is not None
    assert (folder / "model.bin").read_bytes() == WEIGHTS
    assert not partial.exists()


@pytest.mark.parametrize(
    ("model_id", "complaint"),
    [
        ("someone/unknown", "'someone/unknown' is not on the hub, or private"),
        ("someone/gated", "'someone/gated' is gated"),
        ("someone/broken", "The hub answered 500"),
        ("someone/nonsense", "The hub's answer for 'someone/nonsense' makes no sense"),
        ("someone/odd", "The hub's answer for 'someone/odd' makes no sense"),
        ("someone/picture", "'someone/picture' holds no model this server can run"),
    ],
)
def test_what_the_hub_refuses_is_one_line_on_stderr(hub: FakeHub, cache: Cache, model_id: str, complaint: str):
    hub.repositories["someone/picture"] = {"model.onnx": b"x", "config.json": b"{}"}
    done = pull(model_id, hub.url, HF_TOKEN="hf_secret")
    assert done.returncode == 1
    assert complaint in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert "hf_secret" not in done.stderr + done.stdout
    assert "<html>" not in done.stderr + done.stdout
    assert not list(cache.root.glob("models--*"))


def test_an_unreachable_hub_is_named_and_nothing_is_left(cache: Cache):
    done = pull(ID, "http://127.0.0.1:1")
    assert done.returncode == 1
    assert "The hub cannot be reached" in done.stderr
    assert not list(cache.root.glob("models--*"))


def test_a_password_in_the_hubs_address_stays_unsaid(cache: Cache):
    done = pull(ID, "http://user:hf_secret@127.0.0.1:1")
    assert done.returncode == 1
    assert "HF_ENDPOINT has a user name" in done.stderr
    assert "hf_secret" not in done.stderr + done.stdout


def test_a_speecht5_comes_with_the_voices_that_its_repository_lacks(hub: FakeHub, cache: Cache, tmp_path: Path):
    files = files_of(write_model(tmp_path / "made", voices={}))
    hub.repositories["Xenova/speecht5_tts"] = files | {"onnx/decoder_model.onnx": b"not wanted"}
    vector = write_vector(tmp_path / "v.bin", 0.25).read_bytes()
    hub.repositories[ARCTIC_DATASET] = {file: vector for _, file in ARCTIC.values()}
    done = pull("microsoft/speecht5_tts", hub.url)
    assert done.returncode == 0, done.stderr
    installed = cache.folder("Xenova/speecht5_tts")
    assert installed is not None
    assert files_of(installed) == files | {f"voices/{name}.bin": vector for name in ARCTIC}
    speaker = engine.load(installed, EngineArgs())
    assert list(speaker.voices) == list(ARCTIC)
    speaker.close()


def test_voices_of_ones_own_or_of_the_repository_are_enough(hub: FakeHub, cache: Cache, tmp_path: Path):
    files = files_of(write_model(tmp_path / "made", voices={"anna": 0.5}))
    voiceless = {name: content for name, content in files.items() if "voices" not in name}
    hub.repositories |= {"someone/speecht5": files, "someone/voiceless": voiceless}
    (tmp_path / "models.yaml").write_text(
        "- {name: mine, url: 'hf://someone/voiceless', task: text-to-speech, voices: {me: /me.bin}}"
    )
    for model_id, pulled, expected in (
        ("someone/speecht5", "someone/speecht5", files),
        ("mine", "someone/voiceless", voiceless),
    ):
        done = pull(model_id, hub.url, MODELS_FILE=str(tmp_path / "models.yaml"))
        assert done.returncode == 0, done.stderr
        installed = cache.folder(pulled)
        assert installed is not None
        assert files_of(installed) == expected
    assert not [path for _, path, *_ in hub.requests if "datasets" in path]


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
