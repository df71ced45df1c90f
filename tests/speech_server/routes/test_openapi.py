"""The OpenAPI document is true: what it describes is answered, and nothing it allows is a server error."""

from __future__ import annotations

import os
import re
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from jsonschema import Draft202012Validator
from schemathesis.checks import not_a_server_error

from speech_server.app import ROUTES, create_app
from speech_server.settings import Settings
from tests.conftest import ENCODER, PIPER, WHISPER, ServerProcess
from tests.speech_server.routes.conftest import silence

DOCUMENT: dict[str, Any] = create_app(Settings()).openapi()
# Downloads, removals and loads change what the other tests use; voice chat has its own tests.
SAFE = (
    schemathesis.openapi.from_dict(DOCUMENT)
    .exclude(method=["DELETE"])
    .exclude(path_regex=r"/chat/|^/api/ps/\{")
    .exclude(method="POST", path_regex="^/v1/models")
)


def test_every_route_is_described():
    paths = {
        route.path.replace(":path", "")
        for module in ROUTES
        for route in module.router.routes
        if getattr(route, "include_in_schema", False)
    }
    assert paths == set(DOCUMENT["paths"])


def test_the_forms_are_described_field_by_field():
    for path in ("/v1/audio/transcriptions", "/v1/audio/translations", "/v1/audio/speech/timestamps"):
        form = DOCUMENT["paths"][path]["post"]["requestBody"]["content"]["multipart/form-data"]
        assert form["schema"]["properties"]["file"]["format"] == "binary"
        assert "file" in form["schema"]["required"]
        assert all(field.get("description") for field in form["schema"]["properties"].values())
        assert set(form["example"]) <= set(form["schema"]["properties"])
    names = DOCUMENT["paths"]["/v1/audio/transcriptions"]["post"]["requestBody"]["content"]["multipart/form-data"]
    assert {"timestamp_granularities[]", "include[]", "chunking_strategy"} <= set(names["schema"]["properties"])


def test_every_reference_leads_somewhere():
    def references(node: object) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [found for child in node.values() for found in references(child)]
        return [found for child in node for found in references(child)] if isinstance(node, list) else []

    schemas = DOCUMENT["components"]["schemas"]
    assert {name.removeprefix("#/components/schemas/") for name in references(DOCUMENT)} <= set(schemas)


def test_an_error_is_what_the_document_says(client: httpx.Client):
    schema = Draft202012Validator(DOCUMENT["components"]["schemas"]["Error"])
    for answer in (client.get("/v1/models/nobody/nothing"), client.post("/v1/audio/speech", json={})):
        schema.validate(answer.json())


def test_the_document_is_served_and_complete(client: httpx.Client):
    assert client.get("/openapi.json").json() == DOCUMENT


def test_the_examples_of_the_document_work(client: httpx.Client):
    for path, operations in DOCUMENT["paths"].items():
        for kind, content in operations.get("post", {}).get("requestBody", {}).get("content", {}).items():
            if kind == "multipart/form-data":
                answer = client.post(path, data=content["example"], files={"file": silence(1)})
                assert answer.status_code == 200, answer.text
    example = DOCUMENT["components"]["schemas"]["SpeechRequest"]["examples"][0]
    assert client.post("/v1/audio/speech", json=example).status_code == 200


MODELS = {"/v1/audio/speech": PIPER, "/v1/audio/diarization": ENCODER, "/v1/audio/speech/embedding": ENCODER}


@SAFE.parametrize()
@settings(
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "12")), deadline=None, suppress_health_check=list(HealthCheck)
)
def test_nothing_the_document_allows_is_a_server_error(case: schemathesis.Case, server: ServerProcess):
    # With real models' names, or every request would end at the first check.
    if isinstance(case.body, dict) and "model" in case.body:
        case.body["model"] = MODELS.get(case.path, WHISPER)
    response = case.call(base_url=server.url)
    case.validate_response(response, checks=[not_a_server_error])


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/"])
def test_pages_are_html(client: httpx.Client, path: str):
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_the_reference_loads_nothing_from_elsewhere(client: httpx.Client, path: str):
    loaded = re.findall(r'(?:src|href)="([^"]+)"', client.get(path).text)
    assert loaded
    for place in loaded:
        assert place.startswith("/")
        assert client.get(place).status_code == 200
