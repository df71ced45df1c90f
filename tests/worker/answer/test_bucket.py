"""Results too large for the platform go to a bucket that speaks S3's protocol (moto's server)."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import httpx
import pytest
from moto.server import ThreadedMotoServer

from tests.worker.conftest import Jobs
from worker.answer import bucket
from worker.answer.bucket import bucket_of, region_of
from worker.settings import Settings

pytestmark = pytest.mark.anyio
SPEECH = {"path": "/give?type=audio/wav&size=40000000", "method": "POST"}


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    """An s3Config of a bucket that exists."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    keys = {"aws_access_key_id": "id", "aws_secret_access_key": "secret-key", "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=endpoint, **keys)  # type: ignore[call-overload]
    client.create_bucket(Bucket="results")
    client.close()
    yield {"endpointUrl": endpoint, "bucketName": "results", "accessId": "id", "accessSecret": "secret-key"}
    server.stop()


def environment(s3: dict[str, str]) -> dict[str, str]:
    return {
        "bucket_endpoint_url": s3["endpointUrl"],
        "bucket_name": s3["bucketName"],
        "bucket_access_key_id": s3["accessId"],
        "bucket_secret_access_key": s3["accessSecret"],
    }


def download(url: str) -> httpx.Response:
    return httpx.get(url, trust_env=False)


async def test_a_40_mb_result_comes_back_from_its_link_byte_for_byte(jobs: Jobs, s3: dict[str, str]):
    here = jobs.with_settings(**environment(s3), bucket_link_expiry=60)
    output = await here("sync-1/../x", **SPEECH)
    await here.proxy.close()
    assert (output["status"], output["content_type"], output["size_bytes"]) == ("success", "audio/wav", 40_000_000)
    assert abs(output["expires_at"] - time.time() - 60) < 30
    assert "/results/sync-1_.._x/" in output["audio_url"]
    assert "X-Amz-Expires=60" in output["audio_url"]
    answer = download(output["audio_url"])
    assert answer.headers["content-type"] == "audio/wav"
    assert answer.content == (bytes(range(256)) * 160_000)[:40_000_000]


async def test_the_jobs_own_bucket_comes_first(jobs: Jobs, s3: dict[str, str]):
    here = jobs.with_settings(
        **{**environment(s3), "bucket_name": "elsewhere"}, allow_private_urls=True, max_result_mb=0.1
    )
    output = await here(path="/give?type=text/vtt&size=200000", method="POST", s3Config=s3)
    await here.proxy.close()
    assert download(output["url"]).headers["content-type"] == "text/vtt"


async def test_small_results_need_no_bucket(jobs: Jobs, s3: dict[str, str]):
    here = jobs.with_settings(**environment(s3))
    assert "audio_content" in await here(path="/give?type=audio/wav&size=1000", method="POST")
    await here.proxy.close()


async def test_without_a_bucket_the_job_fails_with_ways_out(jobs: Jobs):
    error = json.loads((await jobs(**SPEECH))["error"])
    assert error["code"] == "reply_too_large"
    assert "53.3 MB" in error["message"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"bucketName": "missing"}, "S3 said NoSuchBucket"),
        ({"bucketName": "not a bucket name"}, "did not take it: ParamValidationError"),
    ],
)
async def test_a_bucket_that_does_not_take_it_is_named(
    jobs: Jobs, s3: dict[str, str], change: dict[str, Any], words: str
):
    here = jobs.with_settings(allow_private_urls=True, max_result_mb=0.1)
    output = await here(path="/give?type=audio/wav&size=200000", method="POST", s3Config={**s3, **change})
    await here.proxy.close()
    error = json.loads(output["error"])
    assert error["code"] == "bucket_unavailable"
    assert words in error["message"]
    assert "secret-key" not in output["error"]


async def test_a_job_cannot_send_results_to_private_addresses(jobs: Jobs, s3: dict[str, str]):
    here = jobs.with_settings(max_result_mb=0.1)
    output = await here(path="/give?type=audio/wav&size=200000", method="POST", s3Config=s3)
    await here.proxy.close()
    assert "not a public address" in json.loads(output["error"])["message"]


async def test_an_upload_can_be_cancelled(jobs: Jobs, s3: dict[str, str]):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes the connection and never answers
        port = silent.getsockname()[1]
        here = jobs.with_settings(**{**environment(s3), "bucket_endpoint_url": f"http://127.0.0.1:{port}"})
        task = asyncio.create_task(here(**SPEECH))
        silent.setblocking(False)
        connection, _ = await asyncio.get_running_loop().sock_accept(silent)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        connection.close()
    await here.proxy.close()


async def test_an_upload_without_a_thread_fails_its_job_alone(
    jobs: Jobs, s3: dict[str, str], monkeypatch: pytest.MonkeyPatch
):
    start = threading.Thread.start

    def limited(thread: threading.Thread) -> None:
        if thread.name.startswith("fresh"):
            raise RuntimeError("can't start new thread")
        start(thread)

    here = jobs.with_settings(**environment(s3), max_result_mb=0.1)
    with monkeypatch.context() as patch:
        patch.setattr(bucket, "_threads", ThreadPoolExecutor(1, "fresh"))
        patch.setattr(threading.Thread, "start", limited)
        error = json.loads((await here(path="/give?type=audio/wav&size=200000", method="POST"))["error"])
    assert (error["code"], "no thread can be started" in error["message"]) == ("bucket_unavailable", True)
    assert "audio_url" in await here(path="/give?type=audio/wav&size=200000", method="POST")
    await here.proxy.close()


async def test_a_bucket_needs_all_four_settings():
    assert bucket_of(Settings(bucket_endpoint_url="https://s3.test", bucket_name="b")) is None
    assert "secret" not in repr(Settings(bucket_secret_access_key="secret"))


@pytest.mark.parametrize(
    ("url", "region"),
    [
        ("https://s3.eu-west-1.amazonaws.com", "eu-west-1"),
        ("https://s3-eu-west-1.amazonaws.com", "eu-west-1"),
        ("https://s3.amazonaws.com", "us-east-1"),
        ("https://s3.us-west-004.backblazeb2.com", "us-west-004"),
        ("https://ams3.digitaloceanspaces.com", "ams3"),
        ("https://account.r2.cloudflarestorage.com", "us-east-1"),
        ("https://s3api-eu-ro-1.runpod.io", "eu-ro-1"),
    ],
)
async def test_the_region_is_in_the_endpoints_name(url: str, region: str):
    assert region_of(url) == region
