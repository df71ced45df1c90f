"""Reports of a job's progress: only its own, in order, and no questions to a server that has no answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.worker.conftest import Jobs, stand_in_settings
from worker.job.parse import parse_job
from worker.server.supervisor import Supervisor

pytestmark = pytest.mark.anyio

Supervise = Callable[..., Supervisor]


def reporting(supervisor: Supervisor, **changes: Any) -> Jobs:
    return Jobs(supervisor, stand_in_settings(progress_interval=0.05, **changes))


def answer(jobs: Jobs, job_id: str, told: asyncio.Queue[Any], **job_input: Any) -> asyncio.Task[Any]:
    request = parse_job({"id": job_id, "input": job_input})
    return asyncio.create_task(jobs.proxy.answer(request, job_id, told.put, told.put))


async def test_two_jobs_with_the_same_id_of_their_own_each_see_their_own_progress(supervise: Supervise):
    jobs = reporting(supervise())
    told: list[asyncio.Queue[Any]] = [asyncio.Queue(), asyncio.Queue()]
    same = {"path": "/sleep?seconds=60", "headers": {"X-Request-ID": "same"}}
    first = answer(jobs, "j1", told[0], **same)
    async with asyncio.timeout(20):
        while (await told[0].get())["seconds_done"] < 0.5:
            pass
        second = answer(jobs, "j2", told[1], **same)
        assert (await told[1].get())["seconds_done"] < 0.5, "not the first one's"
    assert sorted(jobs.gauge()["asleep"]) == ["same-j1", "same-j2"]
    for task in (first, second):
        task.cancel()
    await asyncio.gather(first, second, return_exceptions=True)
    await jobs.proxy.close()


async def test_a_server_without_that_route_is_asked_once(supervise: Supervise):
    jobs = reporting(supervise("--no-progress"))
    told: asyncio.Queue[Any] = asyncio.Queue()
    for number in range(3):
        await answer(jobs, f"j{number}", told, path="/sleep?seconds=0.4")
    assert jobs.gauge()["polls"].get("api") == 1
    assert told.empty()
    await jobs.proxy.close()


async def test_a_request_it_does_not_know_yet_is_asked_about_again(supervise: Supervise):
    jobs = reporting(supervise())
    told: asyncio.Queue[Any] = asyncio.Queue()
    await answer(jobs, "j1", told, path="/drip?count=10&pause=0.05&size=10", method="POST")
    assert told.empty()
    assert jobs.gauge()["polls"]["api"] > 1
    await answer(jobs, "j2", told, path="/sleep?seconds=0.4")
    assert not told.empty()
    await jobs.proxy.close()


async def test_the_servers_key_goes_with_the_question(supervise: Supervise):
    jobs = reporting(supervise(), server_api_key="k")
    told: asyncio.Queue[Any] = asyncio.Queue()
    await answer(jobs, "j1", told, path="/sleep?seconds=0.4")
    assert set(jobs.gauge()["keys"]) == {"Bearer k"}
    await jobs.proxy.close()
