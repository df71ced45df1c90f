"""The unmodified runpod client, sync and asyncio, against the local platform."""

from __future__ import annotations

from collections.abc import Iterator

import aiohttp
import pytest
import runpod

from tests.local_runpod.local_platform import LocalPlatform, eventually


@pytest.fixture
def endpoint(platform: LocalPlatform, monkeypatch: pytest.MonkeyPatch) -> Iterator[runpod.Endpoint]:
    monkeypatch.setattr(runpod, "api_key", "any")
    monkeypatch.setattr(runpod, "endpoint_url_base", f"{platform.url}/v2")
    endpoint = runpod.Endpoint("local")
    yield endpoint
    endpoint.rp_client.rp_session.close()


def test_run_status_output(endpoint: runpod.Endpoint) -> None:
    job = endpoint.run({"input": {"return": {"text": "hi"}}})
    assert job.output(timeout=20) == {"text": "hi"}
    assert job.status() == "COMPLETED"


def test_run_sync(endpoint: runpod.Endpoint) -> None:
    assert endpoint.run_sync({"return": {"text": "hi"}}, timeout=20) == {"text": "hi"}


def test_stream(endpoint: runpod.Endpoint) -> None:
    assert list(endpoint.run({"pieces": ["a", "b", "c"], "return": "abc"}).stream()) == ["a", "b", "c"]


def test_cancel(endpoint: runpod.Endpoint) -> None:
    job = endpoint.run({"sleep": 60})
    eventually(lambda: job.status() == "IN_PROGRESS", what="running")
    assert job.cancel()["status"] == "CANCELLED"
    assert job.status() == "CANCELLED"


def test_health_and_purge_queue(endpoint: runpod.Endpoint) -> None:
    health = endpoint.health()
    assert health["workers"]["ready"] == 1
    assert set(health["jobs"]) == {"completed", "failed", "inProgress", "inQueue", "retried"}
    assert endpoint.purge_queue() == {"removed": 0, "status": "completed"}


@pytest.mark.anyio
async def test_asyncio_client(endpoint: runpod.Endpoint) -> None:
    async with aiohttp.ClientSession() as session:
        client = runpod.AsyncioEndpoint("local", session)
        job = await client.run({"pieces": ["a", "b"], "return": "ab"})
        assert [piece async for piece in job.stream()] == ["a", "b"]
        assert await job.output(20) == "ab"
        assert (await client.health())["workers"]["ready"] == 1
        slow = await client.run({"sleep": 60})
        assert (await slow.cancel())["status"] == "CANCELLED"
