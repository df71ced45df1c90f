"""python -m speech_server models, as a person types it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from speech_server.models.disk.cache import Cache
from tests.conftest import ROOT
from tests.speech_server.models.conftest import install, kokoro_folder, piper_folder, real_folder, whisper_folder


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "hf" / "hub")


def models(cache: Cache, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "speech_server", "models", *arguments],
        cwd=ROOT,
        env={**os.environ, "HF_HOME": str(cache.root.parent), "HF_HUB_OFFLINE": "1", **env},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_list_names_task_size_and_licence_of_what_is_installed(cache: Cache):
    install(cache, "Systran/faster-whisper-base")
    install(cache, "speaches-ai/Kokoro-82M-v1.0-ONNX", kokoro_folder)
    install(cache, "someone/voice", piper_folder)
    done = models(cache, "list")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "Systran/faster-whisper-base: automatic-speech-recognition, 0 MB, licence MIT" in lines
    assert "speaches-ai/Kokoro-82M-v1.0-ONNX: text-to-speech, 0 MB, licence Apache-2.0" in lines
    assert "someone/voice: text-to-speech, 0 MB, licence unknown: see its model card" in lines
    assert "silero_vad_v6: voice-activity-detection, 2 MB, licence MIT" in lines
    assert len(lines) == 4


def test_list_known_shows_what_could_be_installed(cache: Cache):
    lines = models(cache, "list", "--known").stdout.splitlines()
    assert (
        "Systran/faster-whisper-large-v3: automatic-speech-recognition, 3,090 MB, licence MIT, not installed" in lines
    )
    assert len(lines) > 100


@pytest.mark.parametrize(
    ("arguments", "shown", "missing"),
    [
        (["--known", "DE_de"], "speaches-ai/piper-de_DE-thorsten-high", "en_US"),
        (["--known", "large-v3"], "Systran/faster-whisper-large-v3", "piper"),
        (["voice-activity"], "silero_vad_v6", "whisper"),
    ],
)
def test_list_can_be_narrowed_to_a_text(cache: Cache, arguments: list[str], shown: str, missing: str):
    install(cache, "Systran/faster-whisper-base")
    done = models(cache, "list", *arguments)
    assert done.returncode == 0
    assert shown in done.stdout
    assert missing not in done.stdout


def test_list_of_nothing_says_where_to_look(cache: Cache):
    done = models(cache, "list", "thorsten")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "no model has 'thorsten' in its line; --known lists those that could be installed as well\n"


def test_pull_of_what_is_installed_says_so_or_nothing(cache: Cache):
    for model_id, make in (
        ("Systran/faster-whisper-base", whisper_folder),
        ("speaches-ai/Kokoro-82M-v1.0-ONNX", kokoro_folder),
        ("speaches-ai/piper-en_US-joe-medium", piper_folder),
    ):
        install(cache, model_id, make)
    assert models(cache, "pull", "openai/whisper-base").stdout == "Systran/faster-whisper-base is installed\n"
    quiet = models(cache, "pull", "--default", "--quiet-if-installed")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (["pull"], 2, "name the models to pull, or say --default"),
        (["pull", "someone/unknown"], 1, "error: Model 'someone/unknown' is not installed locally"),
        (["pull", "../../etc"], 1, "error: '../../etc' is no model id"),
        (["remove", "someone/unknown"], 1, "error: Model 'someone/unknown' is not installed locally"),
        (["remove", "silero_vad_v5"], 1, "error: Model 'silero_vad_v6' lies in"),
        (
            ["convert", "someone/unknown", "--weight-format", "int8", "--name", "a/b"],
            1,
            "error: The hub cannot be reached",
        ),
        (["convert", "tests", "--weight-format", "int8", "--name", "a/b"], 1, "neither a Whisper checkpoint"),
        (["convert", "tests", "--weight-format", "int3", "--name", "a/b"], 2, "invalid choice: 'int3'"),
        ([], 2, "COMMAND"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_an_exit_code(
    cache: Cache, arguments: list[str], code: int, complaint: str
):
    done = models(cache, *arguments)
    assert done.returncode == code
    assert complaint in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert "POST" not in done.stderr  # no HTTP route helps on a command line
    assert not list(cache.root.glob("models--*"))


def test_a_wrong_models_file_is_named(cache: Cache):
    done = models(cache, "list", MODELS="[{name: a}]")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: MODELS: model 0 (a): url: Field required\n"


def test_remove_takes_aliases(cache: Cache):
    install(cache, "Systran/faster-whisper-base")
    assert models(cache, "remove", "whisper-1").stdout == "Systran/faster-whisper-base removed\n"
    assert cache.folder("Systran/faster-whisper-base") is None


def test_help_shows_every_command(cache: Cache):
    for arguments in (["--help"], ["convert", "--help"], ["pull", "--help"]):
        done = models(cache, *arguments)
        assert done.returncode == 0
        assert done.stdout.startswith("usage: python -m speech_server models")


def test_convert_installs_under_the_name(cache: Cache):
    source = real_folder("Systran/faster-whisper-base")
    done = models(cache, "convert", str(source), "--weight-format", "int8_float16", "--name", "acme/calls")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("acme/calls: automatic-speech-recognition, 78 MB")
    assert cache.folder("acme/calls")
    listed = models(cache, "list", MODELS="")
    assert "acme/calls: automatic-speech-recognition" in listed.stdout


def test_ctrl_c_leaves_nothing_broken(cache: Cache):
    with cache.locked("Systran/faster-whisper-base", 5):
        process = subprocess.Popen(
            [sys.executable, "-m", "speech_server", "models", "pull", "whisper-base"],
            cwd=ROOT,
            env={**os.environ, "HF_HOME": str(cache.root.parent)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            assert process.stdout
            assert process.stdout.readline().startswith("pulling Systran/faster-whisper-base")
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted: nothing is broken" in errors
    assert "Traceback" not in errors
    assert cache.folder("Systran/faster-whisper-base") is None
