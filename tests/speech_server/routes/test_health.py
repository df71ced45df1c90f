"""/health answers always, /ping when the models are there; a server without its models ends."""

from __future__ import annotations

import threading
from pathlib import Path

import ctranslate2
import httpx
import pytest

from tests.conftest import PIPER, WHISPER, ServerProcess
from tests.speech_server.routes.conftest import silence


def test_health_says_ok_and_how_much_is_in_work(client: httpx.Client):
    answer = client.get("/health").json()
    assert answer.items() >= {"status": "ok", "message": "OK", "in_flight": 0}.items()


def test_where_each_model_runs_is_in_the_log_in_health_and_beside_its_name():
    if ctranslate2.get_cuda_device_count():
        pytest.skip("there is a GPU")
    server = ServerProcess({"PRELOAD_MODELS": f"{WHISPER},{PIPER}", "WHISPER__NUM_WORKERS": "1"})
    try:
        with httpx.Client(base_url=server.url) as client:
            while client.get("/ping").status_code != 200:
                pass
            health = client.get("/health").json()
            details = {model["id"]: model for model in client.get("/api/ps").json()["details"]}
    finally:
        server.stop()
    placed = {model["engine"]: model for model in health["loaded"]}
    assert health["gpu_required"] is False
    assert WHISPER not in str(health)  # nobody needs a key to ask
    assert placed["piper"]["providers"] == ["CPUExecutionProvider"]
    whisper = placed["whisper"]
    assert (whisper["device"], whisper["workers"], whisper["threads"], whisper["gpus"]) == ("cpu", 1, 1, [])
    assert whisper["compute_type"].startswith("int8")
    assert {name: details[WHISPER][name] for name in whisper if name != "engine"} | {"engine": "whisper"} == whisper
    (line,) = [line for line in server.lines if f"model {WHISPER} loaded in" in line]
    assert f": cpu, {whisper['compute_type']}, 1 worker of 1 thread" in line


@pytest.mark.parametrize(
    "env", [{"REQUIRE_GPU": "true"}, {"NVIDIA_VISIBLE_DEVICES": "GPU-3b1c"}, {"NVIDIA_VISIBLE_DEVICES": "0"}]
)
def test_a_server_that_has_to_have_a_gpu_and_has_none_ends_with_the_reason(env: dict[str, str]):
    if ctranslate2.get_cuda_device_count():
        pytest.skip("there is one")
    server = ServerProcess(env)
    try:
        assert server.process.wait(30) == 1
        assert any("cannot be used: NVIDIA's driver" in line and "REQUIRE_GPU=false" in line for line in server.lines)
    finally:
        server.stop()


@pytest.mark.parametrize(
    "env",
    [
        {"NVIDIA_VISIBLE_DEVICES": "all"},  # our image on a machine without a card
        {"NVIDIA_VISIBLE_DEVICES": "void"},
        {"NVIDIA_VISIBLE_DEVICES": "GPU-3b1c", "REQUIRE_GPU": "false"},
    ],
)
def test_where_none_is_promised_or_wanted_the_cpu_will_do(env: dict[str, str]):
    if any(Path("/dev").glob("nvidia[0-9]*")):
        pytest.skip("there is a card")
    server = ServerProcess(env)
    try:
        with httpx.Client(base_url=server.url) as client:
            while (status := client.get("/ping").status_code) == 204:
                pass
    finally:
        server.stop()
    assert status == 200


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
