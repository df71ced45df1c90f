"""The job loop's own bookkeeping; what it does on a platform is in test_platform.py."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import Any

import aiohttp
import pytest

from worker.platform.sdk import JobLoop
from worker.settings import Settings

pytestmark = pytest.mark.anyio


async def nothing() -> None: ...


def loop_of(handler: Any, concurrency: int = 2) -> JobLoop:
    config = {"handler": handler, "concurrency_modifier": lambda _: concurrency}
    return JobLoop(config, Settings(shutdown_timeout=1.0), lambda: None, nothing, Future())


async def test_a_job_that_is_stopped_before_its_first_step_frees_its_place():
    async def handler(job: dict[str, Any]) -> str:
        raise AssertionError("it must not run")

    loop, job = loop_of(handler), {"id": "stopped", "input": {}}
    loop.jobs_queue.put_nowait(job)
    loop.job_progress.add(job)
    loop.jobs_queue.put_nowait(None)
    async with aiohttp.ClientSession() as session:
        running = asyncio.create_task(loop.run_jobs(session))
        await asyncio.sleep(0)
        assert await loop.stop_job("stopped")
        await running
        await asyncio.sleep(0)
    assert loop.jobs_tasks == {}
    assert loop.current_occupancy() == 0


async def test_places_are_those_of_the_setting_from_the_start():
    assert loop_of(None, 8).jobs_queue.maxsize == 8


async def test_without_a_place_no_job_is_asked_for_until_one_is_free():
    loop, job = loop_of(None, 1), {"id": "held", "input": {}}
    loop.job_progress.add(job)
    waiting = asyncio.create_task(loop.set_scale())
    await asyncio.sleep(0.05)
    assert not waiting.done()
    loop._forget(job, waiting)
    async with asyncio.timeout(1):
        await waiting
