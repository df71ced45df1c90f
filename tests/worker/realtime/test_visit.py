"""How a realtime session ends when its server does, in every way a server may: the job says so, and never hangs."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.worker.conftest import Jobs, free_port, server_pid, stand_in_settings
from worker.server.supervisor import Supervisor
from worker.settings import Settings

pytestmark = pytest.mark.anyio


def visit(told: dict[str, Any]) -> connect:
    return connect(told["url"], additional_headers={"Authorization": f"Bearer {told['token']}"})


@pytest.fixture
async def proxy(supervise: Callable[..., Supervisor]) -> AsyncIterator[Callable[[str], Any]]:
    """A function that runs a realtime job whose server ends the session as told, and gives its output."""
    port = free_port()
    jobs = Jobs(supervise(), stand_in_settings(realtime_port=port, public_ip=""))

    async def run(end: str) -> Any:
        told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        job = {"id": "job-1", "input": {"path": "/v1/realtime", "query": {"end": end}}}
        task = asyncio.create_task(jobs.proxy._finish(job, told.put, told.put))
        async with asyncio.timeout(20):
            async with visit((await told.get())["realtime"]) as socket:
                assert await socket.recv() == "hello"
                await socket.send("go")
                with pytest.raises(ConnectionClosed):
                    await socket.recv()
            async with asyncio.timeout(4):
                output = await task
        return output | {"close_code": socket.close_code}

    yield run
    await jobs.proxy.close()


async def test_a_server_that_drops_the_session_fails_the_job(proxy: Callable[[str], Any]):
    output = await proxy("drop")
    error = json.loads(output["error"])
    assert (error["code"], output["close_code"]) == ("server_unavailable", 1011)
    assert "broke off the realtime session" in error["message"]


async def test_a_server_that_crashes_in_the_session_fails_the_job_with_the_reason(proxy: Callable[[str], Any]):
    error = json.loads((await proxy("crash"))["error"])
    assert error["code"] == "server_died"
    assert "exit status 7" in error["message"]


@pytest.mark.parametrize(("sent", "passed"), [(1000, 1000), (1011, 1011), (1013, 1013), (3000, 3000), (4999, 4999)])
async def test_a_close_code_is_passed_on(proxy: Callable[[str], Any], sent: int, passed: int):
    output = await proxy(str(sent))
    assert (output["status"], output["reason"], output["close_code"]) == ("success", "server_left", passed)


@pytest.mark.parametrize("sent", [0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65535])
async def test_a_close_code_that_may_not_be_sent_ends_the_session_all_the_same(proxy: Callable[[str], Any], sent: int):
    output = await proxy(str(sent))
    assert output["close_code"] in (1000, 1002, 1011)


async def test_our_own_server_crashing_in_a_session_fails_the_job_with_the_reason():
    port = free_port()
    supervisor = Supervisor(Settings(server_command="python -m speech_server"))
    jobs = Jobs(supervisor, Settings(realtime_port=port))
    told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    job = {"id": "job-1", "input": {"path": "/v1/realtime", "query": {"model": "tts-1"}}}
    task = asyncio.create_task(jobs.proxy._finish(job, told.put, told.put))
    try:
        async with asyncio.timeout(60):
            async with visit((await told.get())["realtime"]) as socket:
                assert "session.created" in str(await socket.recv())
                os.kill(await asyncio.to_thread(server_pid, supervisor), signal.SIGKILL)
                with pytest.raises(ConnectionClosed):
                    await socket.recv()
            error = json.loads((await task)["error"])
        assert error["code"] == "server_died"
        assert "killed by SIGKILL" in error["message"]
    finally:
        task.cancel()
        await asyncio.to_thread(supervisor.stop)
        await jobs.proxy.close()
