"""A client of the shared server, and audio to send it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import ROOT, ServerProcess
from tests.sound import wav

CLIPS = ROOT / "examples" / "clips"


@pytest.fixture
def client(server: ServerProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client


@pytest.fixture
def english() -> Path:
    """5.3 s: "The quick brown fox jumps over the lazy dog. Speech on demand, paid by the second." """
    return CLIPS / "english.opus"


@pytest.fixture
def spanish() -> Path:
    return CLIPS / "spanish.opus"


def silence(seconds: float) -> bytes:
    return wav(bytes(int(seconds * 16_000) * 2))
