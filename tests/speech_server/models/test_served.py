"""A model of one's own, int8 and from S3, served by the real server under an alias: downloaded on first use."""

from __future__ import annotations

import json
from pathlib import Path

import boto3
import httpx
import pytest

from speech_server.models.conversion.convert import write_converted
from speech_server.models.disk.cache import Cache
from tests.conftest import ServerProcess
from tests.speech_server.conftest import ENGLISH, ENGLISH_WORDS
from tests.speech_server.models.conftest import real_folder
from tests.speech_server.transcribing import words_of


@pytest.fixture
def server(endpoint: str, tmp_path: Path, cache: Cache):
    converted = tmp_path / "converted"
    converted.mkdir()
    write_converted(real_folder("Systran/faster-whisper-base"), "int8", converted)
    keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
    bucket = boto3.client("s3", endpoint_url=endpoint, **keys)
    bucket.create_bucket(Bucket="own-models")
    for path in converted.iterdir():
        bucket.upload_file(str(path), "own-models", f"calls/int8/{path.name}")  # model.bin goes in parts
    bucket.close()
    model = {
        "name": "support-calls",
        "url": "s3://own-models/calls/int8",
        "owner": "acme",
        "args": {"device": "cpu", "compute_type": "int8"},
        "env": {"AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"},
    }
    (tmp_path / "models.yaml").write_text(json.dumps([model]))
    (tmp_path / "aliases.json").write_text('{"calls": "support-calls"}')
    process = ServerProcess(
        {"MODELS_FILE": str(tmp_path / "models.yaml"), "MODEL_ALIASES_FILE": str(tmp_path / "aliases.json")}
    )
    yield process
    process.stop()


def test_a_converted_model_in_s3_answers_under_its_alias(server: ServerProcess, cache: Cache):
    with httpx.Client(base_url=server.url, timeout=120) as client:
        assert "support-calls" not in [model["id"] for model in client.get("/v1/models").json()["data"]]
        with ENGLISH.open("rb") as clip:
            reply = client.post("/v1/audio/transcriptions", data={"model": "calls"}, files={"file": clip})
        assert reply.status_code == 200, reply.text
        with ENGLISH.open("rb") as clip:
            other = client.post("/v1/audio/transcriptions", data={"model": "gpt-4o-nothing"}, files={"file": clip})
        assert other.status_code == 404
        models = {model["id"]: model for model in client.get("/v1/models").json()["data"]}
        assert models["support-calls"]["owned_by"] == "acme"
        assert client.get("/v1/models/calls").json()["id"] in ("calls", "support-calls")
        assert "support-calls" in json.dumps(client.get("/api/ps").json())
        assert words_of(reply.json()["text"]) == ENGLISH_WORDS
        assert client.delete("/v1/models/calls").status_code == 200
    assert cache.folder("support-calls") is None
    assert any("support-calls" in line and "downloading" in line for line in server.lines), "".join(server.lines)
