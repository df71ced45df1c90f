"""Who may change which models there are, and what many who try at once can do."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from starlette.testclient import TestClient

from speech_server.app import create_app
from speech_server.settings import Settings
from tests.conftest import ServerProcess
from tests.speech_server.models.conftest import piper_folder

MANAGEMENT = [
    ("POST", "/v1/models/Systran/faster-whisper-tiny"),
    ("DELETE", "/v1/models/Systran/faster-whisper-tiny"),
    ("POST", "/api/ps/silero_vad_v5"),
    ("DELETE", "/api/ps/silero_vad_v5"),
]


@pytest.mark.parametrize(
    ("values", "managed"),
    [
        ({}, True),  # only this machine can connect
        ({"uvicorn_host": "localhost"}, True),
        ({"uvicorn_host": "::1"}, True),
        ({"uvicorn_host": "0.0.0.0"}, False),
        ({"uvicorn_host": "::"}, False),
        ({"uvicorn_host": "server.example"}, False),
        ({"uvicorn_host": "0.0.0.0", "api_key": "k"}, True),
        ({"uvicorn_host": "0.0.0.0", "model_management": "on"}, True),
        ({"model_management": "off", "api_key": "k"}, False),
    ],
)
def test_strangers_do_not_manage_models(values: dict[str, str], managed: bool):
    assert Settings(**values).manages_models is managed


@pytest.mark.parametrize(("method", "path"), MANAGEMENT)
def test_where_management_is_off_nothing_is_changed_and_everything_can_be_read(method: str, path: str):
    client = TestClient(create_app(Settings(model_management="off")))
    answer = client.request(method, path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "model_management_off")
    assert "MODEL_MANAGEMENT" in answer.json()["error"]["message"]
    for open_to_all in ("/v1/models", "/api/ps", "/v1/registry", "/v1/audio/voices"):
        assert client.get(open_to_all).status_code == 200


@contextmanager
def silent_hub() -> Iterator[str]:
    """An address that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as hub:
        yield f"http://127.0.0.1:{hub.getsockname()[1]}"


@contextmanager
def server_with(hub: str, home: Path, **env: str) -> Iterator[ServerProcess]:
    process = ServerProcess(
        {
            "HF_HOME": str(home),
            "HF_HUB_OFFLINE": "0",
            "HF_ENDPOINT": hub,
            "MODEL_READ_CACHES": "",
            "MODEL_SOURCE": "hub",
        }
        | {"SHUTDOWN_TIMEOUT": "1", **env}
    )
    try:
        yield process
    finally:
        process.stop()


def threads_of(server: ServerProcess) -> int:
    return len(os.listdir(f"/proc/{server.process.pid}/task"))  # noqa: PTH208


def wait_until(condition) -> None:
    limit = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


async def ask_for(server: ServerProcess, ids: list[str]) -> list[int]:
    """POSTs at once; the statuses of those that are answered in the time, for pulls from a silent hub never are."""

    async def ask(client: httpx.AsyncClient, model_id: str) -> int:
        try:
            return (await client.post(f"/v1/models/{model_id}")).status_code
        except httpx.ReadTimeout:
            return 0

    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=server.url, limits=limits, timeout=httpx.Timeout(30, read=3)) as client:
        return await asyncio.gather(*(ask(client, model_id) for model_id in ids))


def test_a_stranger_of_the_hub_is_refused_before_anything_begins(tmp_path: Path):
    with silent_hub() as hub, server_with(hub, tmp_path) as server:
        statuses = asyncio.run(ask_for(server, ["evil/x"] * 10 + [f"evil/{number}" for number in range(90)]))
        assert statuses == [403] * 100
        assert not list(tmp_path.rglob("models--*"))


def test_three_hundred_pulls_take_a_few_threads_and_the_rest_is_told_to_wait(tmp_path: Path):
    with silent_hub() as hub, server_with(hub, tmp_path, MODEL_OWNERS="*") as server:
        httpx.get(server.url + "/v1/models")
        before = threads_of(server)
        assert asyncio.run(ask_for(server, ["evil/x"] * 100)) == [0] * 100
        assert asyncio.run(ask_for(server, [f"evil/{number}" for number in range(200)])).count(429) >= 190
        assert threads_of(server) - before < 12  # two that pull, and those of pools that nobody needed before
        assert httpx.get(server.url + "/health").status_code == 200


def test_who_leaves_the_line_leaves_room_in_it(tmp_path: Path):
    with silent_hub() as hub, server_with(hub, tmp_path, MODEL_OWNERS="*", MODEL_PULLS="1") as server:
        for _ in range(3):  # each time the same 9 places are taken
            statuses = asyncio.run(ask_for(server, [f"evil/{number}" for number in range(12)]))
            assert statuses.count(429) == 3, statuses


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_a_pull_does_not_hold_up_the_end_of_the_process(tmp_path: Path, ending: signal.Signals):
    with silent_hub() as hub, server_with(hub, tmp_path) as server:
        assert asyncio.run(ask_for(server, ["Systran/faster-whisper-tiny"])) == [0]
        server.process.send_signal(ending)
        assert server.process.wait(20) == 0
        assert "Traceback" not in "".join(server.lines)


def test_a_line_of_preloaded_models_may_be_longer_than_that_of_pulls(tmp_path: Path):
    models = [
        {"name": f"voice-{number}", "url": piper_folder(tmp_path / str(number)).as_uri(), "task": "text-to-speech"}
        | {"files": {"preprocessor_config.json": "{}"}}
        for number in range(6)
    ]
    env = {"MODELS": json.dumps(models), "MODEL_PULLS": "1", "MODEL_PULLS_WAITING": "0"}
    env["PRELOAD_MODELS"] = ",".join(model["name"] for model in models)
    with server_with("http://127.0.0.1:1", tmp_path / "hf", **env) as server:
        # None of them is a real voice, so that loading them fails: but each was fetched.
        wait_until(lambda: server.process.poll() is not None or len(list(tmp_path.rglob("models--voice-*"))) == 6)
        assert not any("are being downloaded" in line for line in server.lines)
