"""Random jobs through local_runpod and the real worker, while results are refused, connections cut, servers killed."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from local_runpod.processes import members
from tests.local_runpod.local_platform import FINAL, ROOT, LocalPlatform, eventually
from tests.soak.orders import Order, random_orders

STAND_IN = ROOT / "tests/worker/stand_in_server.py"
CLIENTS = 16  # jobs under way at once: always more than the worker takes
# Endings every job may have here, because trouble strikes anybody.
TROUBLE = frozenset({"server_died", "server_unavailable", "job timed out after 1 retries"})


@dataclass
class Outcome:
    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    kills: int = 0
    megabytes: list[float] = field(default_factory=list)  # the worker's memory over time
    seconds: float = 0.0
    trouble: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Footprint:
    tasks: int
    files: int
    processes: int
    temporary: tuple[str, ...]


def soak(jobs: int, kills: int, seed: int, temporary: Path) -> Outcome:
    """Raises AssertionError when something is left over; jobs that ended wrongly are in the outcome."""
    outcome = Outcome()
    with LocalPlatform(
        [sys.executable, "-u", ROOT / "tests/soak/counted_handler.py"],
        env={
            "SPEECH_SERVER_COMMAND": f"{sys.executable} {STAND_IN}",
            "WORKER_CONCURRENCY": "8",
            "SPEECH_SERVER_STOP_TIMEOUT": "2",
            "TMPDIR": str(temporary),
            "RUNPOD_LOG_LEVEL": "WARN",
        },
        lost_after=8,
        runsync_retention=3600,
        run_retention=3600,
        stop_seconds=20,
    ) as platform:
        (worker,) = platform.state()["workers"]
        asyncio.run(_send(platform, random_orders(24, seed + 1), Outcome(), [], 24))  # warm
        before = _settled_footprint(platform, worker, temporary)
        platform.trouble(refuse_results=0.1, drop_connections=0.05)
        started = time.monotonic()
        at = [round((n + 1) * jobs / (kills + 1)) for n in range(kills)]
        asyncio.run(_send(platform, random_orders(jobs, seed), outcome, at, jobs, worker))
        outcome.seconds = time.monotonic() - started
        platform.trouble(refuse_results=0, drop_connections=0)
        _check_results(platform, outcome)
        outcome.trouble = platform.state()["trouble"]
        _check_memory(outcome)
        _check_footprint(platform, worker, temporary, before)
        assert [w["id"] for w in platform.state()["workers"]] == [worker["id"]], "the worker itself was replaced"
        assert platform.stop() == 0
        assert members(worker["id"]) == []
    return outcome


async def _send(
    platform: LocalPlatform,
    orders: Iterator[Order],
    outcome: Outcome,
    kill_at: list[int],
    total: int,
    worker: dict[str, Any] | None = None,
) -> None:
    async with httpx.AsyncClient(base_url=platform.base, timeout=120) as http:

        async def client() -> None:
            for order in orders:
                view = await _one_job(http, order)
                _judge(order, view, outcome)
                done = outcome.counts.total()
                if worker and done in kill_at:
                    outcome.kills += await asyncio.to_thread(platform.kill, worker["id"], 9, "stand_in_server")
                if worker and done % max(1, total // 12) == 0:
                    outcome.megabytes.append(psutil.Process(worker["pid"]).memory_info().rss / 1e6)

        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(client())


async def _one_job(http: httpx.AsyncClient, order: Order) -> dict[str, Any]:
    if order.sync and order.cancel_after is None:
        view = (await http.post("/runsync?wait=100000", json={"input": order.input})).json()
        return dict(view)
    receipt = (await http.post("/run", json={"input": order.input})).json()
    job_id = receipt["id"]
    if order.cancel_after is not None:
        await asyncio.sleep(order.cancel_after)
        await http.post(f"/cancel/{job_id}")
    limit = time.monotonic() + 100
    while time.monotonic() < limit:
        if order.streams:
            await http.get(f"/stream/{job_id}")
        view = (await http.get(f"/status/{job_id}")).json()
        if view["status"] in FINAL:
            return dict(view)
        await asyncio.sleep(0.05)
    return dict(view)


def _judge(order: Order, view: dict[str, Any], outcome: Outcome) -> None:
    status = view.get("status", "no status")
    ending = _error_code(view) if status == "FAILED" else status
    outcome.counts[f"{order.kind}: {ending}"] += 1
    if ending not in order.endings | TROUBLE:
        outcome.wrong.append(f"{order.kind} ended as {ending}: {str(order.input)[:200]} -> {str(view)[:500]}")
    elif status == "COMPLETED" and not order.output_is_right(view.get("output")):
        outcome.wrong.append(f"{order.kind} has the wrong output: {str(order.input)[:200]} -> {str(view)[:500]}")


def _error_code(view: dict[str, Any]) -> str:
    """The worker's errors are JSON with a code and a message that says something; the platform's are its words."""
    try:
        error = json.loads(view["error"])
    except ValueError:
        return str(view["error"])
    return str(error["code"]) if error["message"] and error["type"] else f"incomplete error {error}"


def _check_results(platform: LocalPlatform, outcome: Outcome) -> None:
    for job in platform.state()["jobs"]:
        if job["status"] not in FINAL or job["accepted"] > 1 or (job["status"] == "COMPLETED" and not job["accepted"]):
            outcome.wrong.append(f"not exactly one end: {job}")
    health = platform.health()["jobs"]
    if health["inProgress"] or health["inQueue"]:
        outcome.wrong.append(f"still at work: {health}, {platform.state()['workers']}\n{platform.log[-3000:]}")
    gauge = platform.runsync({"path": "/gauge"})["output"]
    assert gauge["in_flight"] == 0, "the server still works on something"


def _check_memory(outcome: Outcome) -> None:
    """Flat: between results of 30 MB, the last third of the run needs hardly more than the middle one."""
    third = len(outcome.megabytes) // 3
    if third:
        middle, last = outcome.megabytes[third : 2 * third], outcome.megabytes[2 * third :]
        if statistics.median(last) > 1.2 * statistics.median(middle) + 10:
            outcome.wrong.append(f"memory grows: {outcome.megabytes}")


def _settled_footprint(platform: LocalPlatform, worker: dict[str, Any], temporary: Path) -> Footprint:
    """Once idle connections have been closed: two looks in a row that are the same."""
    last = None
    limit = time.monotonic() + 60
    while time.monotonic() < limit:
        now = _footprint(platform, worker, temporary)
        if now == last:
            return now
        last = now
        httpx.get(f"{platform.base}/health")
        eventually(_after(3))
    raise AssertionError(f"the worker does not settle: {last}")


def _after(seconds: float) -> Any:
    limit = time.monotonic() + seconds
    return lambda: time.monotonic() > limit


def _footprint(platform: LocalPlatform, worker: dict[str, Any], temporary: Path) -> Footprint:
    seen = len(platform.lines)
    psutil.Process(worker["pid"]).send_signal(signal.SIGUSR1)
    found = eventually(
        lambda: re.search(r"counted tasks=(\d+) files=(\d+)", "".join(platform.lines[seen:])), what="the count"
    )
    names = tuple(sorted(str(path.relative_to(temporary)) for path in temporary.rglob("*")))
    return Footprint(int(found[1]), int(found[2]), len(members(worker["id"])), names)


def _check_footprint(platform: LocalPlatform, worker: dict[str, Any], temporary: Path, before: Footprint) -> None:
    """Keep-alive connections come and go (the SDK's close after 15 s): waits for the moment without them."""

    def settled() -> bool:
        nonlocal now
        now = _footprint(platform, worker, temporary)
        return (now.tasks, now.processes, now.temporary) == (before.tasks, before.processes, before.temporary) and (
            now.files <= before.files
        )

    now = before
    limit = time.monotonic() + 45
    while not settled():
        assert time.monotonic() < limit, f"left over: {now}, before {before}\n{platform.log[-3000:]}"
        eventually(_after(0.5))
