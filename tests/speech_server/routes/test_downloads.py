"""Models come and go over HTTP, in a cache of the test's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import PIPER, ServerProcess
from tests.speech_server.models.conftest import piper_folder, real_folder


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Nothing installed; models of one's own lie in folders and are copied when they are asked for."""
    folder = tmp_path_factory.mktemp("models")
    beside = {"preprocessor_config.json": "{}"}
    models = [
        {"name": "own/voice", "url": real_folder(PIPER).as_uri(), "task": "text-to-speech", "files": beside},
        {"name": "other-voice", "url": piper_folder(folder / "b").as_uri(), "task": "text-to-speech", "files": beside},
        {"name": "gone", "url": (folder / "nothing").as_uri(), "files": beside},
    ]
    server = ServerProcess({"HF_HOME": str(folder / "hf"), "MODELS": json.dumps(models), "MODEL_READ_CACHES": ""})
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client
    server.stop()


def installed(client: httpx.Client) -> set[str]:
    return {model["id"] for model in client.get("/v1/models", params={"task": "text-to-speech"}).json()["data"]}


def test_a_model_is_downloaded_once_and_deleted_once(fresh: httpx.Client):
    assert installed(fresh) == set()
    assert fresh.get("/v1/models/other-voice").status_code == 404
    assert fresh.post("/v1/models/other-voice").status_code == 200
    assert installed(fresh) == {"other-voice"}
    assert fresh.get("/v1/models/other-voice").json()["id"] == "other-voice"
    assert fresh.post("/v1/models/other-voice").status_code == 201
    assert fresh.delete("/v1/models/other-voice").json() == {"detail": "Model 'other-voice' deleted"}
    assert fresh.delete("/v1/models/other-voice").status_code == 404
    assert installed(fresh) == set()


def test_a_download_shows_its_progress_when_asked(fresh: httpx.Client):
    answer = fresh.post("/v1/models/other-voice", headers={"Accept": "text/event-stream"})
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(line.removeprefix("data: ")) for line in answer.text.split("\n\n") if line]
    assert events[-1] == {"type": "done", "model": "other-voice", "status": "downloaded"}
    assert {event["type"] for event in events[:-1]} <= {"progress"}
    assert all(event["completed"] <= (event["total"] or event["completed"]) for event in events[:-1])
    fresh.delete("/v1/models/other-voice")


@pytest.mark.parametrize("accept", ["*/*", "text/event-stream"])
def test_a_download_that_cannot_begin_is_a_plain_error(fresh: httpx.Client, accept: str):
    answer = fresh.post("/v1/models/gone", headers={"Accept": accept})
    assert 400 <= answer.status_code < 600
    assert answer.json()["error"]["message"]
    assert "gone" in answer.text or "nothing" in answer.text


def test_a_model_is_downloaded_on_first_use_and_stays_while_it_speaks(fresh: httpx.Client, tmp_path: Path):
    order = {"model": "own/voice", "input": "One. Two. Three. " * 400, "response_format": "pcm"}
    with fresh.stream("POST", "/v1/audio/speech", json=order) as speaking:
        audio = speaking.iter_bytes()
        assert next(audio)
        for path in ("/api/ps/own/voice", "/v1/models/own/voice"):
            refused = fresh.delete(path)
            assert (refused.status_code, refused.json()["error"]["code"]) == (409, "model_in_use")
        assert fresh.get("/api/ps").json()["models"] == ["own/voice"]
    assert installed(fresh) == {"own/voice"}
    while fresh.delete("/v1/models/own/voice").status_code == 409:
        pass  # until the server has seen the client go
    assert installed(fresh) == set()
    assert fresh.get("/api/ps").json()["models"] == []
