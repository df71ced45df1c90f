"""The small language model: what is missing is said before anything is started."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from speech_server.models.disk.cache import default_root
from tests.conftest import ROOT
from tools import language_model


@pytest.fixture
def no_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def install(root: Path) -> Path:
    """Bytes in the weights' place."""
    folder = root / f"models--{language_model.ID.replace('/', '--')}" / "snapshots" / "1"
    folder.mkdir(parents=True)
    path = folder / "SmolLM2-135M-Instruct.Q4_1.gguf"
    path.write_bytes(b"GGUF")
    return path


def test_weights_are_looked_for_where_models_are_kept(no_models: Path):
    assert default_root() == no_models
    assert language_model.weights() is None
    path = install(no_models)
    assert language_model.weights() == path


def test_serving_without_weights_says_how_to_have_them(no_models: Path):
    command = [sys.executable, "-m", "tools.language_model", "serve"]
    done = subprocess.run(command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.strip() == (language_model.missing() or "")
    assert "`python -m tools.language_model pull`" in done.stderr
