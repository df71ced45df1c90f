"""One platform with one echo worker for all tests that do not need their own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.local_runpod.local_platform import LocalPlatform

ECHO = [sys.executable, "-u", Path(__file__).parent / "echo_handler.py"]


@pytest.fixture(scope="session")
def platform() -> Iterator[LocalPlatform]:
    with LocalPlatform(ECHO, lost_after=3) as running:
        yield running
