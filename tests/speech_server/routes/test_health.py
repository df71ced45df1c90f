"""/health answers always, /ping when the models are there; a server without its models ends."""

from __future__ import annotations

import threading

import httpx
import pytest

from tests.conftest import PIPER, WHISPER, ServerProcess
from tests.speech_server.routes.conftest import silence


def test_health_says_ok_and_how_much_is_in_work(client: httpx.Client):
    assert client.get("/health").json() == {"status": "ok", "message": "OK", "in_flight": 0}


def test_ping_is_200_when_there_is_nothing_to_load(client: httpx.Client):
    assert client.get("/ping").status_code == 200


def test_health_counts_requests_in_work_and_never_waits_for_them(client: httpx.Client, server: ServerProcess):
    begun = threading.Event()

    def busy() -> None:
        with httpx.stream(
            "POST",
            server.url + "/v1/audio/speech/timestamps",
            files={"file": silence(600)},
            timeout=60,
        ) as response:
            response.read()
        begun.set()

    worker = threading.Thread(target=busy)
    worker.start()
    seen = 0
    while not begun.is_set() and not seen:
        seen = client.get("/health").json()["in_flight"]
    worker.join()
    assert seen == 1


def test_ping_is_204_until_every_preloaded_model_is_in_memory():
    server = ServerProcess({"PRELOAD_MODELS": f'["{WHISPER}", "{PIPER}"]'})
    try:
        with httpx.Client(base_url=server.url) as client:
            statuses = [client.get("/ping").status_code]
            while statuses[-1] == 204:
                statuses.append(client.get("/ping").status_code)
            loaded = client.get("/api/ps").json()["models"]
    finally:
        server.stop()
    assert statuses[0] == 204
    assert statuses[-1] == 200
    assert set(loaded) == {WHISPER, PIPER}


@pytest.mark.parametrize("name", ["nobody/nothing", "silero_vad_v5,nobody/nothing"])
def test_a_server_that_cannot_preload_ends_with_the_reason(name: str):
    server = ServerProcess({"PRELOAD_MODELS": name})
    try:
        assert server.process.wait(30) == 1
        assert any("preloading failed" in line and "nobody/nothing" in line for line in server.lines)
    finally:
        server.stop()
