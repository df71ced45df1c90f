"""A real child process behind a real proxy: the stand-in server, so that nothing here depends on our own."""

from __future__ import annotations

import asyncio
import os
import shlex
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from worker.proxy import Proxy
from worker.server.supervisor import Supervisor
from worker.settings import Settings

STAND_IN_PATH = Path(__file__).with_name("stand_in_server.py")
STAND_IN = shlex.join([sys.executable, str(STAND_IN_PATH)])


def stand_in_settings(options: str = "", **changes: Any) -> Settings:
    return Settings(**{"server_command": f"{STAND_IN} {options}", "progress_interval": 0, **changes})


def eventually(look: Callable[[], bool], seconds: float = 5.0) -> None:
    limit, pause = time.monotonic() + seconds, threading.Event()
    while not look():
        assert time.monotonic() < limit
        pause.wait(0.01)


def server_pid(supervisor: Supervisor) -> int:
    port = int(supervisor.wait_ready().url.rpartition(":")[2])
    return next(
        process.pid
        for process in psutil.Process().children(recursive=True)
        if any(c.laddr.port == port for c in process.net_connections() if c.status == psutil.CONN_LISTEN)
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def supervise() -> Iterator[Callable[..., Supervisor]]:
    """A function that starts a supervisor; all are stopped at the end."""
    started: list[Supervisor] = []

    def start(options: str = "", environ: dict[str, str] | None = None, **changes: Any) -> Supervisor:
        supervisor = Supervisor(stand_in_settings(options, **changes), {**os.environ, **(environ or {})})
        started.append(supervisor)
        supervisor.start()
        return supervisor

    yield start
    for supervisor in started:
        supervisor.stop()


@pytest.fixture(scope="module")
def stand_in() -> Iterator[Supervisor]:
    """One stand-in server for the tests of a file that do not kill it."""
    supervisor = Supervisor(stand_in_settings())
    supervisor.start()
    yield supervisor
    supervisor.stop()


class Jobs:
    """Sends jobs to a proxy as the SDK does: `await jobs(path="/echo")` is the output."""

    def __init__(self, supervisor: Supervisor, settings: Settings) -> None:
        self.supervisor = supervisor
        self.settings = settings
        self.proxy = Proxy(settings, supervisor)

    async def __call__(self, job_id: str = "job-1", **job_input: Any) -> Any:
        return await self.proxy.handle({"id": job_id, "input": job_input})

    async def raw(self, job: Any) -> Any:
        return await self.proxy.handle(job)

    def with_settings(self, **changes: Any) -> Jobs:
        return Jobs(self.supervisor, stand_in_settings(**changes))

    async def until_in_flight(self, count: int, seconds: float) -> None:
        """Returns when the server works on so many requests."""
        async with asyncio.timeout(seconds):
            while self.gauge()["in_flight"] != count:  # noqa: ASYNC110 (the server is another process)
                await asyncio.sleep(0.01)

    def gauge(self) -> dict[str, Any]:
        return dict(httpx.get(self.supervisor.wait_ready().url + "/gauge", trust_env=False).json())


@pytest.fixture
async def jobs(stand_in: Supervisor) -> AsyncIterator[Jobs]:
    made = Jobs(stand_in, stand_in_settings())
    yield made
    await made.proxy.close()
