"""A server that cannot do what it was made for ends itself, and says why."""

from __future__ import annotations

import dataclasses
import threading

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from speech_server.app import create_app
from speech_server.models.disk.cache import Cache
from speech_server.models.library.store import Store
from speech_server.models.loader import Loader
from speech_server.settings import Settings
from tests.speech_server.models.conftest import install
from tests.speech_server.models.engines import LIMIT, WHISPER, Factory


def served(settings: Settings, factory: Factory, stop: threading.Event) -> FastAPI:
    """The app with engines made here."""
    app = create_app(settings, stop=stop.set)
    state = app.state.speech
    loader = Loader(settings, state.catalog, Store(settings, state.catalog), {"whisper": factory})
    app.state.speech = dataclasses.replace(state, loader=loader)
    return app


def test_a_load_that_does_not_return_is_504_and_ends_the_server(
    cache: Cache, factory: Factory, caplog: pytest.LogCaptureFixture
):
    install(cache, WHISPER)
    factory.gate.clear()
    stopped = threading.Event()
    settings = Settings(model_read_caches=[], int8_cache=False, model_load_timeout=0.05)
    with TestClient(served(settings, factory, stopped)) as client:
        assert client.post(f"/api/ps/{WHISPER}").status_code == 504
        assert stopped.wait(LIMIT)
        assert client.get("/health").status_code == 200  # until the server has ended
    factory.gate.set()
    assert "MODEL_LOAD_TIMEOUT allows 0.05" in caplog.text


@pytest.mark.parametrize("error", [MemoryError("no memory"), RuntimeError("can't start new thread")])
def test_a_preload_that_fails_in_a_way_nobody_foresaw_ends_the_server(
    cache: Cache, factory: Factory, caplog: pytest.LogCaptureFixture, error: Exception
):
    install(cache, WHISPER)
    factory.error = error
    stopped = threading.Event()
    settings = Settings(model_read_caches=[], int8_cache=False, preload_models=[WHISPER])
    with TestClient(served(settings, factory, stopped)):
        assert stopped.wait(LIMIT)
    assert str(error) in caplog.text
