"""WORKER_HANDLER=generator: what the handler yields, and what is left of a job that is given up."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.worker.conftest import Jobs

pytestmark = pytest.mark.anyio


def drip(**query: Any) -> dict[str, Any]:
    return {"id": "job-1", "input": {"path": "/drip", "method": "POST", "stream": True, "query": query}}


async def test_every_piece_is_yielded_and_nothing_else(jobs: Jobs):
    pieces = [
        piece async for piece in jobs.proxy.handle_stream(drip(type="text/plain", size=300, count=30, pause=0.01))
    ]
    assert "".join(piece["text"] for piece in pieces) == "\0" * 300


async def test_a_job_that_is_refused_yields_its_error(jobs: Jobs):
    pieces = [piece async for piece in jobs.proxy.handle_stream({"id": "job-1", "input": {}})]
    assert [set(piece) for piece in pieces] == [{"error"}]


@pytest.mark.parametrize("seen", [0, 1])
async def test_a_cancelled_job_leaves_no_task(jobs: Jobs, seen: int):
    pieces = jobs.proxy.handle_stream(drip(type="text/plain", size=1, count=1, pause=60))
    first = asyncio.Event()

    async def consume() -> None:
        if seen == 0:
            first.set()
        async for _ in pieces:
            first.set()

    others = asyncio.all_tasks()
    consumer = asyncio.create_task(consume())
    async with asyncio.timeout(20):
        await first.wait()
        await jobs.until_in_flight(1, 20)
        consumer.cancel()
        await asyncio.wait([consumer])
    assert asyncio.all_tasks() - others == set()


async def test_a_generator_that_is_closed_leaves_no_task(jobs: Jobs):
    others = asyncio.all_tasks()
    pieces = jobs.proxy.handle_stream(drip(type="text/plain", size=1, count=1, pause=60))
    async with asyncio.timeout(20):
        await anext(pieces)
        await pieces.aclose()  # type: ignore[attr-defined]
    assert asyncio.all_tasks() - others == set()
