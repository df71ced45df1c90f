"""An empty hub cache, in which the tools put models."""

from __future__ import annotations

from pathlib import Path

import pytest

from speech_server.models.disk.cache import Cache


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    return Cache(tmp_path / "hf" / "hub")
