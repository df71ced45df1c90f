"""The client of the jobs API: nothing that was sent is left running because nobody knows its id."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from endpoint.jobs import Jobs
from endpoint.where import find

pytestmark = pytest.mark.anyio


async def test_a_job_whose_id_was_still_on_its_way_is_cancelled_with_the_wait():
    asked, answer, cancelled = asyncio.Event(), asyncio.Event(), []

    async def run(_: web.Request) -> web.Response:
        asked.set()
        await answer.wait()
        return web.json_response({"id": "j1", "status": "IN_QUEUE"})

    async def cancel(request: web.Request) -> web.Response:
        cancelled.append(request.match_info["id"])
        return web.json_response({"id": "j1", "status": "CANCELLED"})

    app = web.Application()
    app.add_routes([web.post("/v2/x/run", run), web.post("/v2/x/cancel/{id}", cancel)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with Jobs(find(f"http://127.0.0.1:{runner.addresses[0][1]}/v2/x", {})) as jobs:
            waiting = asyncio.create_task(jobs.run({"input": {}}))
            await asked.wait()
            waiting.cancel()
            answer.set()
            with pytest.raises(asyncio.CancelledError):
                await waiting
    finally:
        await runner.cleanup()
    assert cancelled == ["j1"]
