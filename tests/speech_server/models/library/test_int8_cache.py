"""The int8 copy: made once, of the right models, by one of many, and never in the way."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from speech_server.engines.interfaces import EngineArgs
from speech_server.engines.whisper.weights import read_weights
from speech_server.models.catalog.info import ModelInfo
from speech_server.models.disk.recognise import recognise
from speech_server.models.library.int8_cache import Int8Cache
from tests.conftest import ROOT
from tests.speech_server.models.conftest import real_folder, whisper_folder

MODEL = ModelInfo("Systran/faster-whisper-base", "whisper", args=EngineArgs(device="cpu"))


@pytest.fixture(scope="module")
def original() -> Path:
    return real_folder(MODEL.id)


def test_a_float_model_is_copied_once_and_the_copy_is_complete(original: Path, tmp_path: Path):
    copies = Int8Cache(tmp_path)
    copy = copies.folder(MODEL, original)
    assert copy != original
    assert recognise(copy) == "whisper"
    assert read_weights(copy / "model.bin").precision == "int8"
    made = (copy / "model.bin").stat().st_mtime_ns
    assert copies.folder(MODEL, original) == copy
    assert (copy / "model.bin").stat().st_mtime_ns == made
    assert copies.folder(MODEL, copy) == copy  # what is int8 already stays


@pytest.mark.parametrize(
    "model",
    [
        replace(MODEL, args=EngineArgs(device="cpu", compute_type="float32")),
        replace(MODEL, args=EngineArgs(device="cuda")),
        replace(MODEL, engine="kokoro"),
    ],
)
def test_models_that_do_not_run_at_int8_on_a_cpu_stay_as_they_are(original: Path, tmp_path: Path, model: ModelInfo):
    assert Int8Cache(tmp_path).folder(model, original) == original
    assert list(tmp_path.iterdir()) == []


def test_the_setting_turns_it_off(original: Path, tmp_path: Path):
    assert Int8Cache(tmp_path, enabled=False).folder(MODEL, original) == original


def test_a_model_that_changed_gets_a_new_copy_and_the_old_one_goes(original: Path, tmp_path: Path):
    own = tmp_path / "own"
    shutil.copytree(original, own)
    copies = Int8Cache(tmp_path / "int8")
    first = copies.folder(MODEL, own)
    (own / "model.bin").touch()
    second = copies.folder(MODEL, own)
    assert second != first
    assert second.is_dir()
    assert not first.exists()


def test_where_no_copy_can_be_written_the_original_is_loaded(
    original: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "occupied").write_text("a file where a folder should be")
    with caplog.at_level(logging.WARNING):
        assert Int8Cache(tmp_path / "occupied").folder(MODEL, original) == original
    assert "without an int8 copy" in caplog.text


def test_a_broken_model_is_left_to_the_engine_to_complain_about(tmp_path: Path):
    broken = whisper_folder(tmp_path / "broken")
    assert Int8Cache(tmp_path / "int8").folder(MODEL, broken) == broken


def test_removing_a_model_removes_its_copies(original: Path, tmp_path: Path):
    copies = Int8Cache(tmp_path)
    copy = copies.folder(MODEL, original)
    copies.remove(MODEL.id)
    assert not copy.exists()
    copies.remove("never/there")


_COPY = """
import sys
from pathlib import Path
from speech_server.engines.interfaces import EngineArgs
from speech_server.models.catalog.info import ModelInfo
from speech_server.models.library.int8_cache import Int8Cache
model = ModelInfo("Systran/faster-whisper-base", "whisper", args=EngineArgs(device="cpu"))
print("started", flush=True)
print(Int8Cache(Path(sys.argv[1])).folder(model, Path(sys.argv[2])))
"""


def start_copy(root: Path, original: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _COPY, str(root), str(original)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "started\n"
    return process


def test_two_processes_make_one_copy_and_both_use_it(original: Path, tmp_path: Path):
    with start_copy(tmp_path, original) as first, start_copy(tmp_path, original) as second:
        found = {process.communicate(timeout=60)[0].strip() for process in (first, second)}
    (copy,) = found
    assert recognise(Path(copy)) == "whisper"
    assert [path.name for path in Path(copy).parent.glob("*/")] == [Path(copy).name]


def test_a_process_killed_while_copying_leaves_nothing_that_is_taken_for_a_copy(original: Path, tmp_path: Path):
    with start_copy(tmp_path, original) as victim:
        folder = tmp_path / MODEL.id.replace("/", "--")
        while victim.poll() is None and not list(folder.glob("*/model.bin")):
            pass
        victim.kill()
    copies = Int8Cache(tmp_path)
    copy = copies.folder(MODEL, original)
    assert read_weights(copy / "model.bin").precision == "int8"
    assert [path.name for path in folder.glob("*/")] == [copy.name]
