"""A server with a stand-in language model behind it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.talking import TalkServer, talk_server


@pytest.fixture(scope="session")
def talk() -> Iterator[TalkServer]:
    with talk_server() as server:
        yield server
