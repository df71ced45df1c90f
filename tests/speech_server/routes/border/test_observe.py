"""Every request is logged and counted as what it was answered with, under an id that cannot forge a line."""

from __future__ import annotations

import logging
import re

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from speech_server.app import create_app
from speech_server.routes.border.observe import LONGEST_ID, caller_of
from speech_server.settings import Settings


@pytest.fixture
def client() -> TestClient:
    """The real app, and beside its routes one that has a bug."""
    app: FastAPI = create_app(Settings())

    @app.get("/v1/bug")
    async def bug() -> None:
        raise RuntimeError("a bug")

    return TestClient(app, raise_server_exceptions=False)


def test_a_bug_is_logged_and_counted_as_500(client: TestClient, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "speech_server.requests")
    answer = client.get("/v1/bug", headers={"X-Request-ID": "abc"})
    assert (answer.status_code, answer.headers["x-request-id"]) == (500, "abc")
    assert "GET /v1/bug 500 in" in caplog.text
    assert 'speech_requests_total{method="GET",route="/v1/bug",status="500"} 1.0' in client.get("/metrics").text


@pytest.mark.parametrize(
    "sent",
    ["", " ", "a b", "a\tb", "x, request other", "\x7f", "caf\xe9", "a\x1b[31mb"],
    ids=repr,
)
def test_an_id_that_could_forge_a_log_line_is_replaced(client: TestClient, sent: str):
    answer = client.get("/v1/registry", headers={"X-Request-ID": sent.encode("latin-1")})
    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-request-id"])


def test_an_id_is_bounded(client: TestClient):
    assert client.get("/v1/registry", headers={"X-Request-ID": "x" * 5000}).headers["x-request-id"] == "x" * LONGEST_ID


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/v1/nothing", 404), ("DELETE", "/v1/audio/speech", 405)]
)
def test_what_the_framework_refuses_has_the_code_a_job_reports(client: TestClient, method: str, path: str, status: int):
    """The worker calls an error without a code http_<status>: one failure has one code everywhere."""
    answer = client.request(method, path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, f"http_{status}")


@pytest.mark.parametrize(
    ("client", "caller"),
    [(("10.0.0.7", 5), "10.0.0.7"), (("127.0.0.1", 5), "an-id"), (("::1", 5), "an-id"), (None, "an-id")],
)
def test_callers_are_told_apart_by_address_but_for_those_of_this_machine(client: object, caller: str):
    assert caller_of({"client": client}, "an-id") == caller
