"""Uploads that no job holds go over a bucket or a volume, and leave nothing behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from moto.server import ThreadedMotoServer

from endpoint.errors import BadArgument
from endpoint.gateway.options import Options
from endpoint.gateway.storage import store_of
from endpoint.where import Where
from tests.endpoint.gateway.conftest import RunningGateway, start, stop
from tests.local_runpod.local_platform import LocalPlatform, eventually


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    client = boto3.client(
        "s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1",
        aws_access_key_id="id", aws_secret_access_key="secret",
    )  # fmt: skip
    client.create_bucket(Bucket="uploads")
    yield client
    client.close()
    server.stop()


def settings(kind: str, s3: Any) -> dict[str, str]:
    return {
        f"GATEWAY_{kind}": "uploads",
        f"GATEWAY_{kind}_URL": s3.meta.endpoint_url,
        f"GATEWAY_{kind}_ACCESS_KEY_ID": "id",
        f"GATEWAY_{kind}_SECRET_ACCESS_KEY": "secret",
    }


def upload(gateway: RunningGateway, data: bytes) -> httpx.Response:
    return httpx.post(f"{gateway.url}/v1/echo", files={"file": ("a.bin", data)}, timeout=60)


def test_a_large_upload_goes_over_a_bucket(echo: LocalPlatform, s3: Any):
    gateway = start(echo.base, RUNPOD_API_KEY="any", **settings("BUCKET", s3))
    try:
        data = bytes(range(256)) * 80_000
        reply = upload(gateway, data)
        assert reply.status_code == 200, reply.text
        assert reply.json()["size"] > len(data)  # a form with the whole file in it
        eventually(lambda: "Contents" not in s3.list_objects_v2(Bucket="uploads"), 10, "nothing is left")
    finally:
        stop(gateway)
    assert "over bucket uploads" in gateway.log
    assert "secret" not in gateway.log


def test_a_volume_is_named_by_its_path(echo: LocalPlatform, s3: Any):
    """Nothing is mounted in front of this worker: it says so, by the name that the gateway gave it."""
    gateway = start(echo.base, RUNPOD_API_KEY="any", **settings("VOLUME", s3))
    try:
        reply = upload(gateway, bytes(20_000_000))
        assert reply.status_code in (400, 422)
        assert "gateway-uploads" in reply.text or "volume" in reply.json()["error"]["message"]
        eventually(lambda: "Contents" not in s3.list_objects_v2(Bucket="uploads"), 10, "nothing is left")
    finally:
        stop(gateway)


def test_half_a_setting_is_refused(tmp_path: Path):
    with pytest.raises(BadArgument, match="GATEWAY_BUCKET_URL"):
        store_of(Options(Where("http://x/v2/y", takes_jobs=True), bucket="uploads"), {})
