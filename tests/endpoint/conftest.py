"""What the commands are sent to: a speech server, a queue endpoint with the real worker, a server that talks."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.conftest import PIPER, WHISPER
from tests.local_runpod.local_platform import LocalPlatform
from tests.talking import TalkServer, talk_server


@pytest.fixture(scope="session")
def queue_url() -> Iterator[str]:
    with LocalPlatform([sys.executable, "-u", "handler.py"]) as platform:
        yield platform.base


@pytest.fixture(scope="session")
def talk() -> Iterator[TalkServer]:
    with talk_server(PRELOAD_MODELS=f"{WHISPER},{PIPER}") as server:
        yield server
