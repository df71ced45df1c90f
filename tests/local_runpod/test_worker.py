"""The real worker (handler.py) under the platform, with a stand-in server: its promises on time, death and size."""

from __future__ import annotations

import json
import shlex
import signal
import sys
import time
from collections.abc import Iterator

import boto3
import httpx
import pytest
from moto.server import ThreadedMotoServer

from local_runpod.processes import members
from tests.conftest import ROOT
from tests.local_runpod.local_platform import LocalPlatform, eventually

HANDLER = [sys.executable, "-u", ROOT / "handler.py"]
STAND_IN = shlex.join([sys.executable, str(ROOT / "tests/worker/stand_in_server.py")])
PATTERN = bytes(range(256))  # what the stand-in fills its answers with


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """An S3 server with a bucket named results; its URL."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=url, **keys).create_bucket(Bucket="results")
    yield url
    server.stop()


@pytest.fixture(scope="module")
def platform() -> Iterator[LocalPlatform]:
    env = {
        "SPEECH_SERVER_COMMAND": STAND_IN,
        "WORKER_CONCURRENCY": "9",  # eight, and one to ask the server how many it has
        "RUNPOD_ALLOW_PRIVATE_DOWNLOAD_URLS": "true",  # the bucket of s3Config is on this machine
    }
    with LocalPlatform(HANDLER, env=env) as running:
        yield running


def in_flight(platform: LocalPlatform) -> int:
    """Requests the server works on, as it counts them, asked through a job."""
    return int(platform.runsync({"path": "/gauge"})["output"]["in_flight"])


def test_eight_jobs_of_3_s_run_at_once(platform: LocalPlatform) -> None:
    began = time.monotonic()
    jobs = [platform.run({"path": "/sleep?seconds=3"}) for _ in range(8)]
    eventually(lambda: in_flight(platform) == 8, 10, "all eight in the server at once")
    assert all(platform.wait(job)["output"] == {"slept": 3} for job in jobs)
    assert time.monotonic() - began < 8 * 3 / 2  # one after the other they take 24 s


def test_a_short_job_does_not_wait_for_a_long_one(platform: LocalPlatform) -> None:
    long = platform.run({"path": "/sleep?seconds=60"})
    eventually(lambda: in_flight(platform) == 1, what="the long job in the server")
    assert platform.runsync({"path": "/sleep?seconds=0.02"})["output"] == {"slept": 0.02}
    assert platform.status(long)["status"] == "IN_PROGRESS"
    platform.cancel(long)


def test_a_cancelled_job_stops_the_work_in_the_server(platform: LocalPlatform) -> None:
    jobs = [platform.run({"path": "/sleep?seconds=60"}) for _ in range(3)]
    eventually(lambda: in_flight(platform) == 3, what="the jobs in the server")
    for job in jobs:
        assert platform.cancel(job)["status"] == "CANCELLED"
    eventually(lambda: in_flight(platform) == 0, 5, "the server let go")
    assert {job["accepted"] for job in platform.state()["jobs"] if job["id"] in jobs} == {0}


def test_a_job_that_runs_out_of_time_on_the_platform_stops_in_the_server(platform: LocalPlatform) -> None:
    job = platform.run({"path": "/sleep?seconds=60"}, policy={"executionTimeout": 800})
    assert platform.wait(job)["status"] == "TIMED_OUT"
    eventually(lambda: in_flight(platform) == 0, 5, "the server let go")


def test_a_killed_server_fails_the_job_with_the_reason_and_the_next_job_succeeds(platform: LocalPlatform) -> None:
    (worker,) = platform.state()["workers"]
    job = platform.run({"path": "/sleep?seconds=60"})
    eventually(lambda: in_flight(platform) == 1, what="the job in the server")
    assert platform.kill(worker["id"], signal.SIGKILL, child="stand_in_server") == 1
    done = platform.wait(job, 10)
    assert done["status"] == "FAILED"
    error = json.loads(done["error"])
    assert error["code"] == "server_died"
    assert "SIGKILL" in error["message"]
    assert platform.runsync({"path": "/give?type=text/plain&size=1"})["status"] == "COMPLETED"
    assert [w["id"] for w in platform.state()["workers"]] == [worker["id"]]


def test_40_mb_of_speech_without_a_bucket_fail_and_the_message_helps(platform: LocalPlatform) -> None:
    done = platform.runsync({"path": "/give?type=audio/wav&size=40000000", "method": "GET"})
    error = json.loads(done["error"])
    assert error["code"] == "reply_too_large"
    for word in ("MB", "response_format", "/runsync", "s3Config", "BUCKET_"):
        assert word in error["message"]


def test_40_mb_of_speech_go_to_the_jobs_bucket_and_come_back_the_same(platform: LocalPlatform, bucket: str) -> None:
    config = {"accessId": "key", "accessSecret": "secret", "bucketName": "results", "endpointUrl": bucket}
    done = platform.runsync({"path": "/give?type=audio/wav&size=40000000", "method": "GET"}, s3Config=config)
    assert done["status"] == "COMPLETED", done
    output = done["output"]
    assert output["size_bytes"] == 40_000_000
    response = httpx.get(output["audio_url"])
    assert response.headers["content-type"] == "audio/wav"
    assert response.content == (PATTERN * (40_000_000 // 256 + 1))[:40_000_000]


def test_the_worker_and_its_server_end_with_the_platform() -> None:
    platform = LocalPlatform(HANDLER, env={"SPEECH_SERVER_COMMAND": STAND_IN})
    (worker,) = platform.state()["workers"]
    assert len(members(worker["id"], worker["pid"])) >= 3  # the worker, its ping process, the server
    assert platform.stop() == 0
    assert members(worker["id"], worker["pid"]) == []
    assert f"worker {worker['id']} exited with status 0" in platform.log


def test_the_openai_route_streams_with_the_generator_handler() -> None:
    env = {"SPEECH_SERVER_COMMAND": STAND_IN, "WORKER_HANDLER": "generator"}
    with LocalPlatform(HANDLER, env=env) as platform:
        body = {"stream": True, "model": "m"}
        response = platform.client.post(f"{platform.base}/openai/drip?type=text/event-stream", json=body)
        assert response.headers["content-type"].startswith("text/event-stream")
        assert json.loads(response.text) == body
