"""Any Whisper on the hub by its name: POST /v1/models/ID, then it hears real speech."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import WHISPER, ServerProcess
from tests.speech_server.conftest import ENGLISH, ENGLISH_WORDS
from tests.speech_server.models.checkpoints import base_checkpoint
from tests.speech_server.models.conftest import real_folder
from tests.speech_server.models.hub import FakeHub, running_hub
from tests.speech_server.transcribing import words_of

ID = "acme/whisper-base-calls"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[FakeHub]:
    with running_hub() as server:
        folder = tmp_path / "checkpoint"
        folder.mkdir()
        server.offer(ID, base_checkpoint(real_folder(WHISPER), folder))
        yield server


@pytest.fixture
def client(hub: FakeHub, tmp_path: Path) -> Iterator[httpx.Client]:
    cache = {"HF_HOME": str(tmp_path / "hf"), "MODEL_READ_CACHES": ""}
    server = ServerProcess({**cache, "MODEL_OWNERS": "acme", **hub.env})
    with httpx.Client(base_url=server.url, timeout=120) as client:
        yield client
    server.stop()


def test_a_checkpoint_is_pulled_converted_and_heard_under_its_own_name(client: httpx.Client, hub: FakeHub):
    stages: dict[str, list[tuple[int, int]]] = {}
    with client.stream("POST", f"/v1/models/{ID}", headers={"Accept": "text/event-stream"}) as answer:
        for line in filter(None, answer.iter_lines()):
            event = json.loads(line.removeprefix("data: "))
            # Whoever converts does not do it on the event loop: others are answered all the while.
            assert client.get("/health").status_code == 200
            if event["type"] == "progress":
                stages.setdefault(event["status"], []).append((event["completed"], event["total"]))
    assert event == {"type": "done", "model": ID, "status": "downloaded"}
    assert client.post(f"/v1/models/{ID}").status_code == 201
    assert list(stages) == ["downloading", "converting"]
    assert all(done <= total for steps in stages.values() for done, total in steps)
    assert hub.fetched.count("model.safetensors") == 1
    with ENGLISH.open("rb") as clip:
        heard = client.post("/v1/audio/transcriptions", data={"model": ID}, files={"file": clip})
    assert words_of(heard.json()["text"]) == ENGLISH_WORDS
