"""The composition root: light to import, and no failure leaves as anything but the envelope."""

from __future__ import annotations

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from speech_server.app import create_app
from speech_server.errors import Busy, SpeechError, StorageFull
from speech_server.settings import Settings


@pytest.fixture
def app() -> FastAPI:
    """The real app, and beside its routes one that fails as asked."""
    app = create_app(Settings())

    @app.get("/v1/fail/{kind}")
    async def fail(kind: str) -> None:
        raise {
            "busy": Busy("The queue is full", retry_after=2.6),
            "full": StorageFull("The disk is full"),
            "bug": RuntimeError("a secret of the inside"),
            "plain": SpeechError("It failed", param="file"),
        }[kind]

    return app


def test_a_full_queue_says_when_to_come_back(app: FastAPI):
    answer = TestClient(app).get("/v1/fail/busy")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "3")
    assert answer.json()["error"]["type"] == "rate_limit_error"


@pytest.mark.parametrize(("kind", "status"), [("full", 507), ("plain", 500)])
def test_failures_carry_their_own_status(app: FastAPI, kind: str, status: int):
    answer = TestClient(app).get(f"/v1/fail/{kind}")
    assert answer.status_code == status
    assert answer.json()["detail"] == answer.json()["error"]["message"]


@pytest.mark.parametrize("prefix", ["/v1", "/v3", "/api/v1"])
def test_a_bug_is_500_with_a_request_id_and_nothing_of_the_inside(app: FastAPI, prefix: str):
    answer = TestClient(app, raise_server_exceptions=False).get(f"{prefix}/fail/bug", headers={"X-Request-ID": "abc"})
    assert answer.status_code == 500
    assert "abc" in answer.json()["error"]["message"]
    assert "secret" not in answer.text


def test_two_apps_in_one_process_keep_their_own_counts():
    first, second = TestClient(create_app(Settings())), TestClient(create_app(Settings()))
    first.get("/v1/registry")
    assert "/v1/registry" in first.get("/metrics").text
    assert "/v1/registry" not in second.get("/metrics").text
