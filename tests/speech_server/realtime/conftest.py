"""A server with a language model for the tests of live sessions."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import PIPER, WHISPER
from tests.talking import SILENCE, TalkServer, spoken, talk_server

QUESTION = "Please tell me what time it is."


@pytest.fixture(scope="session")
def talk() -> Iterator[TalkServer]:
    with talk_server(PRELOAD_MODELS=f"{WHISPER},{PIPER}", REALTIME_AUDIO_LEAD="0.5") as server:
        yield server


@pytest.fixture(scope="session")
def question(talk: TalkServer) -> bytes:
    """Somebody asks QUESTION and falls silent."""
    return SILENCE[: len(SILENCE) // 4] + spoken(talk.url, QUESTION) + SILENCE
