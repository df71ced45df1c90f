"""A server that cannot do what it was made for ends itself, and says why."""

from __future__ import annotations

import dataclasses
import threading

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from speech_server.app import create_app
from speech_server.engines.queue.batching import Batcher
from speech_server.engines.queue.fair_queue import Work
from speech_server.errors import DeviceFailed
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


def lose(batch: list[Work[str, str]]) -> None:
    raise RuntimeError("CUDA failed with error an illegal memory access was encountered")


def test_a_lost_gpu_ends_the_server_which_says_so_to_whoever_asks(
    cache: Cache, factory: Factory, caplog: pytest.LogCaptureFixture
):
    """A batch fails as CTranslate2's do; then nothing is 200 any more, until the server has ended."""
    install(cache, "a/other")
    install(cache, WHISPER)
    stopped = threading.Event()
    settings = Settings(model_read_caches=[], int8_cache=False)
    with TestClient(served(settings, factory, stopped)) as client:
        assert client.post(f"/api/ps/{WHISPER}").status_code == 201
        batcher = factory.made[0].batcher = Batcher(lose, name="t")
        assert [client.get(path).status_code for path in ("/ping", "/health")] == [200, 200]
        assert isinstance(batcher.lane().submit("a").exception(LIMIT), DeviceFailed)
        for answer in (client.get("/ping"), client.get("/health"), client.post("/api/ps/a/other")):
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "device_failed")
            assert "illegal memory access" in answer.json()["error"]["message"]
        assert stopped.wait(LIMIT)
    batcher.close()
    assert not factory.made[0].closed, "what frees memory of a lost GPU aborts the process"
    assert "an illegal memory access was encountered" in caplog.text
    assert "the server ends, for another to take its place" in caplog.text


def test_a_gpu_lost_while_a_model_loads_ends_the_server(cache: Cache, factory: Factory):
    install(cache, WHISPER)
    stopped = threading.Event()
    factory.error = RuntimeError("CUDA failed with error uncorrectable ECC error encountered")
    settings = Settings(model_read_caches=[], int8_cache=False)
    with TestClient(served(settings, factory, stopped)) as client:
        answer = client.post(f"/api/ps/{WHISPER}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "device_failed")
        assert client.get("/ping").status_code == 503
        assert stopped.wait(LIMIT)


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
