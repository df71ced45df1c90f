"""What a job costs on its way through the worker, against direct HTTP and a plain blocking proxy, in one run.

Below the platform the worker's own coroutine is called and compared with a bare socket to the same server, so that
the HTTP client's cost counts as the worker's. On the platform both proxies run as workers of local_runpod.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shlex
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx

from benchmarks import naive_proxy
from benchmarks.report import Report, median, percentile
from benchmarks.server import ROOT
from tests.local_runpod.local_platform import LocalPlatform
from worker.proxy import Proxy
from worker.server.supervisor import Supervisor
from worker.settings import Settings

STAND_IN = shlex.join([sys.executable, str(ROOT / "tests/worker/stand_in_server.py")])
SMALL = {"path": "/give", "query": {"type": "application/json"}, "body": {"model": "m", "input": "hello"}}
SMALL_BODY = json.dumps(SMALL["body"]).encode()
LARGE_SIZE = 10_000_000
LARGE = {"path": f"/give?type=audio/wav&size={LARGE_SIZE}", "method": "GET"}
SLEEP = {"path": "/sleep?seconds=0.1", "method": "GET"}
ROUNDS = 5

Call = Callable[[], Awaitable[Any]]


def run(report: Report) -> None:
    _silence_logs()
    supervisor = Supervisor(Settings(server_command=STAND_IN))
    try:
        os.environ["SERVER_URL"] = supervisor.wait_ready().url
        with asyncio.Runner() as runner:
            runner.run(_below_the_platform(report, supervisor))
        _on_the_platform(report)
    finally:
        supervisor.stop()


def _silence_logs() -> None:
    """Two lines per job to a terminal would be measured too; importing the SDK makes httpx log every request."""
    os.environ["RUNPOD_LOG_LEVEL"] = "ERROR"
    logging.getLogger("httpx").setLevel(logging.WARNING)


# --- the handler's coroutine ---


async def _below_the_platform(report: Report, supervisor: Supervisor) -> None:
    proxy = Proxy(
        Settings(server_command=STAND_IN, concurrency=32, progress_interval=0, max_result_sync_mb=100), supervisor
    )
    direct = Direct(supervisor.wait_ready().url)
    try:
        for concurrency in (1, 8, 32):
            await _added(report, concurrency, lambda: _job(proxy, SMALL), lambda: direct.post(SMALL_BODY))
        await _against_naive(report, proxy)
        await _large(report, proxy, direct)
    finally:
        direct.close()
        await proxy.close()


async def _added(report: Report, concurrency: int, job: Call, direct: Call) -> None:
    """Milliseconds that a job takes longer than the request it makes; rounds in turn, the median of the rounds."""
    p50, p99, ratios, rates = [], [], [], []
    await _latencies(job, concurrency, 100)
    for _ in range(ROUNDS):
        through, seconds = await _latencies(job, concurrency, 400)
        bare, bare_seconds = await _latencies(direct, concurrency, 400)
        p50.append(percentile(through, 50) - percentile(bare, 50))
        p99.append(percentile(through, 99) - percentile(bare, 99))
        rates.append(400 / seconds)
        ratios.append(bare_seconds / seconds)
    at = f"at concurrency {concurrency}"
    bound = 1.5 if concurrency == 1 else None
    report.add(f"added p50 {at}", median(p50) * 1000, "ms", against="direct HTTP", at_most=bound)
    report.add(f"added p99 {at}", median(p99) * 1000, "ms", against="direct HTTP")
    report.add(f"jobs/s {at}", median(ratios), against="direct HTTP", note=f"{median(rates):.0f} jobs/s")
    report.series.setdefault("jobs/s through the worker", []).append((concurrency, round(median(rates), 1)))


async def _against_naive(report: Report, proxy: Proxy) -> None:
    """The plain proxy takes one job at a time: 32 jobs cost it 32 times one."""

    def naive(job: dict[str, Any], count: int) -> float:
        began = time.perf_counter()
        for _ in range(count):
            naive_proxy.handler({"id": "x", "input": job})
        return time.perf_counter() - began

    small = {"path": "/give?type=application/json", "method": "POST", "body": SMALL["body"]}
    ours_small, naive_small, ours_sleep, naive_sleep = [], [], [], []
    for _ in range(ROUNDS):
        ours_small.append((await _latencies(lambda: _job(proxy, SMALL), 1, 200))[1])
        naive_small.append(naive(small, 200))
        ours_sleep.append((await _latencies(lambda: _job(proxy, SLEEP), 8, 32))[1])
        naive_sleep.append(naive(SLEEP, 32))
    against = "plain blocking proxy"
    report.add("small jobs/s at concurrency 1", median(naive_small) / median(ours_small), against=against, at_least=1)
    report.add("100 ms jobs/s at concurrency 8", median(naive_sleep) / median(ours_sleep), against=against, at_least=7)


async def _large(report: Report, proxy: Proxy, direct: Direct) -> None:
    """A 10 MB reply becomes 13.3 MB of base64."""
    ours, bare, naive = [], [], []
    path = str(LARGE["path"])
    for _ in range(ROUNDS):
        ours.append((await _latencies(lambda: _job(proxy, LARGE), 1, 3))[1] / 3)
        bare.append((await _latencies(lambda: direct.get(path), 1, 3))[1] / 3)
        began = time.perf_counter()
        naive_proxy.handler({"id": "x", "input": LARGE})
        naive.append(time.perf_counter() - began)
    rate = LARGE_SIZE / 1e6 / median(ours)
    report.add(
        "10 MB reply, MB/s", median(naive) / median(ours), against="plain blocking proxy", note=f"{rate:.0f} MB/s"
    )
    report.add("10 MB reply, MB/s of", median(bare) / median(ours), against="direct HTTP")


async def _job(proxy: Proxy, job: dict[str, Any]) -> Any:
    output = await proxy.handle({"id": "sync-benchmark", "input": job})
    if isinstance(output, dict) and "error" in output:
        raise RuntimeError(output["error"])
    return output


async def _latencies(call: Call, concurrency: int, count: int) -> tuple[list[float], float]:
    """Seconds of each call and of all, with so many under way at once."""
    seconds: list[float] = []
    left = iter(range(count))

    async def client() -> None:
        for _ in left:
            began = time.perf_counter()
            await call()
            seconds.append(time.perf_counter() - began)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(client())
    return seconds, time.perf_counter() - began


class Direct:
    """The least HTTP can cost in asyncio: kept connections, a request in one write, a reply by its length."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname, parts.port)
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def post(self, body: bytes) -> bytes:
        head = f"POST /give?type=application/json HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
        return await self._ask(head.encode() + body)

    async def get(self, path: str) -> bytes:
        return await self._ask(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())

    async def _ask(self, request: bytes) -> bytes:
        reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection(*self._address)
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        body = await reader.readexactly(int(head.partition(b"content-length: ")[2].split(b"\r\n")[0]))
        self._idle.append((reader, writer))
        return body

    def close(self) -> None:
        for _, writer in self._idle:
            writer.close()


# --- as workers ---


@contextmanager
def _platform(command: list[str], env: dict[str, str]) -> Iterator[LocalPlatform]:
    with LocalPlatform(command, env=env, quiet=True) as platform:
        yield platform


def _on_the_platform(report: Report) -> None:
    """Both under the real SDK. The plain one has what that gives by default: one job at a time, waits of up to 1 s."""
    ours = {"SPEECH_SERVER_COMMAND": STAND_IN, "WORKER_CONCURRENCY": "8", "WORKER_PROGRESS_INTERVAL": "0"}
    with (
        _platform([sys.executable, "-u", "handler.py"], ours) as proxy,
        _platform([sys.executable, "-u", "-m", "benchmarks.naive_proxy"], {}) as naive,
    ):
        job = {"path": "/give?type=application/json", "method": "POST", "body": SMALL["body"]}
        for platform in (proxy, naive):
            asyncio.run(_throughput(platform, job, 1, 2))
        rounds = [(_p50(proxy, job, 20), _p50(naive, job, 2)) for _ in range(3)]
        against = "plain blocking proxy under the SDK"
        milliseconds = median([ours for ours, _ in rounds]) * 1000
        report.add(
            "p50 of /runsync, small job",
            median([theirs / ours for ours, theirs in rounds]),
            against=against,
            at_least=1,
            note=f"{milliseconds:.1f} ms with the platform's own part",
        )
        sleeps = [
            asyncio.run(_throughput(proxy, SLEEP, 16, 80)) / asyncio.run(_throughput(naive, SLEEP, 16, 8))
            for _ in range(2)
        ]
        report.add("100 ms jobs/s, 16 clients, concurrency 8", median(sleeps), against=against, at_least=7)


def _p50(platform: LocalPlatform, job: dict[str, Any], count: int) -> float:
    return asyncio.run(_measure(platform, job, 1, count))[0]


async def _throughput(platform: LocalPlatform, job: dict[str, Any], clients: int, count: int) -> float:
    return (await _measure(platform, job, clients, count))[1]


async def _measure(platform: LocalPlatform, job: dict[str, Any], clients: int, count: int) -> tuple[float, float]:
    """p50 in seconds, and jobs per second."""
    async with httpx.AsyncClient(base_url=platform.base, timeout=120, trust_env=False) as http:

        async def call() -> None:
            view = (await http.post("/runsync", json={"input": job})).json()
            if view["status"] != "COMPLETED":
                raise RuntimeError(str(view))

        seconds, whole = await _latencies(call, clients, count)
    return percentile(seconds, 50), count / whole
