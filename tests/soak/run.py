"""Random jobs through local_runpod and the real worker, while results are refused, connections cut, servers killed.

With chaos there is more: the server stops answering, the disk is full, no process can be started, names and buckets are
slow, and some of the callers mean harm.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from local_runpod.processes import members
from tests.conftest import ROOT
from tests.local_runpod.local_platform import FINAL, LocalPlatform, eventually
from tests.soak.cage import Builder, new_cgroup, remove_cgroup
from tests.soak.footprint import Scales, memory_grows
from tests.soak.hostile import as_body, flood_of_names, hostile_makers
from tests.soak.orders import MAKERS, Maker, Order, random_orders
from tests.soak.outside import Outside
from tests.soak.strikes import Strikes, worker_of

STAND_IN = ROOT / "tests/worker/stand_in_server.py"
CLIENTS = 16  # jobs under way at once: always more than the worker takes
CHAOS = ("stop", "disk", "pids", "names", "bucket", "callers", "poison", "bombs")
# Endings every job may have here, because trouble strikes anybody.
TROUBLE = frozenset({"server_died", "server_unavailable", "job timed out after 1 retries"})
NEVER_SAID = re.compile(r"Traceback \(|was never retrieved|Exception ignored|the SDK failed")
NO_THREAD = ("the worker failed (RuntimeError)", "no thread can be started")


@dataclass
class Outcome:
    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    kills: int = 0
    megabytes: list[float] = field(default_factory=list)  # the worker's memory over time
    seconds: float = 0.0
    trouble: dict[str, int] = field(default_factory=dict)
    chaos: Counter[str] = field(default_factory=Counter)
    skipped: dict[str, str] = field(default_factory=dict)  # kinds of chaos that cannot be had here, and why
    log: str = ""  # the platform's and its workers'


def soak(jobs: int, kills: int, seed: int, temporary: Path, chaos: Iterable[str] = ()) -> Outcome:
    """Raises AssertionError when something is left over; jobs that ended wrongly are in the outcome."""
    with ExitStack() as stack:
        disk = temporary / "disk"
        disk.mkdir()
        outside = stack.enter_context(Outside(temporary))
        builder, kinds = Builder(), frozenset(chaos)
        if "disk" in kinds:
            builder.add("disk", disk=disk)
        if "names" in kinds:
            builder.add("names", resolv_conf=outside.no_names or outside.resolv_conf)
        if "pids" in kinds:
            builder.add("pids", cgroup=(group := new_cgroup()))
            if isinstance(group, Path):
                stack.callback(remove_cgroup, group)
        return Soak(jobs, kills, seed, builder, kinds - builder.skipped.keys(), outside, disk).run()


class Soak:
    def __init__(
        self, jobs: int, kills: int, seed: int, builder: Builder, kinds: frozenset[str], outside: Outside, disk: Path
    ) -> None:
        self.jobs, self.seed, self.kinds, self.outside, self.disk = jobs, seed, kinds, outside, disk
        self.cage = builder.cage
        self.kill_at = [round((n + 1) * jobs / (kills + 1)) for n in range(kills)]
        self.makers: dict[Maker, int] = {**MAKERS, **hostile_makers(kinds, outside.port)}
        self.outcome = Outcome(skipped=builder.skipped)
        self.trouble = TROUBLE | ({"worker_stopping"} if "pids" in kinds else set())

    def run(self) -> Outcome:
        outcome, warm = self.outcome, Outcome()
        with self._platform() as platform:
            asyncio.run(self._send(platform, random_orders(48, self.seed + 1, self.makers), warm))
            scales = Scales(platform, self.disk, own_disk=self.cage.disk is not None)
            before = scales.settled()
            (worker,) = platform.state()["workers"]
            platform.trouble(refuse_results=0.1, drop_connections=0.05)
            started = time.monotonic()
            asyncio.run(self._with_strikes(platform))
            outcome.seconds = time.monotonic() - started
            platform.trouble(refuse_results=0, drop_connections=0)
            self._check_results(platform)
            outcome.trouble, outcome.log = platform.state()["trouble"], platform.log
            # Bombs hold what they may hold: between them it must come down to where it was.
            if memory_grows(outcome.megabytes, min if self.kinds else statistics.median):
                outcome.wrong.append(f"memory grows: {outcome.megabytes}")
            scales.check(before)
            self._check_worker(platform, worker["id"])
            last, _ = worker_of(platform)
            assert platform.stop() == 0
            assert members(last) == []
        return outcome

    def _platform(self) -> LocalPlatform:
        quick = {"SPEECH_SERVER_PING_INTERVAL": "0.5", "SPEECH_SERVER_SILENCE_TIMEOUT": "3"}
        hostile = {"RUNPOD_ALLOW_PRIVATE_DOWNLOAD_URLS": "true", "SPEECH_SERVER_MAX_CRASHES": "20"}
        limits = {"WORKER_MIN_FREE_DISK_MB": "8", "WORKER_MAX_ANSWER_MB": "50"}
        return LocalPlatform(
            self.cage.around([sys.executable, "-u", ROOT / "tests/soak/counted_handler.py"]),
            env={
                "SPEECH_SERVER_COMMAND": f"{sys.executable} {STAND_IN}",
                "WORKER_CONCURRENCY": "8",
                "SPEECH_SERVER_STOP_TIMEOUT": "2",
                "TMPDIR": str(self.disk),
                "RUNPOD_LOG_LEVEL": "WARN",
                **(quick | hostile | limits if self.kinds else {}),
            },
            lost_after=8,
            runsync_retention=3600,
            run_retention=3600,
            stop_seconds=20,
            back_off=2,
        )

    async def _with_strikes(self, platform: LocalPlatform) -> None:
        dice = random.Random(self.seed)

        async def flood(count: int) -> None:
            orders = [flood_of_names(dice, self.outside.port) for _ in range(count)]
            await self._send(platform, iter(orders), self.outcome, clients=count)

        strikes = Strikes(platform, self.cage, self.kinds, dice, flood)
        async with asyncio.TaskGroup() as group:
            striking = group.create_task(strikes.go_on())
            while self.outcome.counts.total() < self.jobs or not striking.done():
                # At least so many jobs, and jobs for as long as a strike goes on.
                left = self.jobs - self.outcome.counts.total()
                if left <= 0:
                    strikes.end()
                self.seed += 1
                orders = random_orders(max(left, CLIENTS), self.seed, self.makers)
                await self._send(platform, orders, self.outcome)
                if left <= 0:
                    await asyncio.sleep(0.3)  # enough to see what a strike does; the rest of the machine is others'
        self.outcome.chaos = strikes.counts
        if "names" in self.kinds:
            self.outcome.chaos["names asked for"] = self.outside.names.asked
        if "bucket" in self.kinds:
            self.outcome.chaos["uploads to a slow bucket"] = self.outside.bucket.uploads

    async def _send(
        self, platform: LocalPlatform, orders: Iterator[Order], outcome: Outcome, clients: int = CLIENTS
    ) -> None:
        limits = httpx.Limits(max_connections=clients + 4)
        async with httpx.AsyncClient(base_url=platform.base, timeout=120, limits=limits) as http:

            async def client() -> None:
                for order in orders:
                    view = await _one_job(http, order)
                    self._judge(order, view, outcome)
                    if outcome is self.outcome:
                        await asyncio.to_thread(self._now_and_then, platform)

            async with asyncio.TaskGroup() as group:
                for _ in range(clients):
                    group.create_task(client())

    def _now_and_then(self, platform: LocalPlatform) -> None:
        done = self.outcome.counts.total()
        if self.kill_at and done >= self.kill_at[0]:
            del self.kill_at[0]
            worker_id, _ = worker_of(platform)
            self.outcome.kills += platform.kill(worker_id, 9, "stand_in_server")
        if done % max(1, self.jobs // 12) == 0:
            _, pid = worker_of(platform)
            if pid and psutil.pid_exists(pid):
                self.outcome.megabytes.append(psutil.Process(pid).memory_info().rss / 1e6)

    def _judge(self, order: Order, view: dict[str, Any], outcome: Outcome) -> None:
        status = view.get("status", "no status")
        ending = _error_code(view) if status == "FAILED" else status
        outcome.counts[f"{order.kind}: {ending}"] += 1
        allowed = order.endings | self.trouble
        if "disk" in self.kinds and order.uses_disk:
            allowed |= {"storage_full"}
        said = str(view.get("error"))
        if "pids" in self.kinds and any(words in said for words in NO_THREAD):
            allowed |= {"internal_error", "bucket_unavailable"}
        seen = f"{str(order.input)[:200]} -> {str(view)[:500]}"
        if ending not in allowed:
            outcome.wrong.append(f"{order.kind} ended as {ending}: {seen}")
        elif status == "COMPLETED" and not order.output_is_right(view.get("output")):
            outcome.wrong.append(f"{order.kind} has the wrong output: {seen}")

    def _check_results(self, platform: LocalPlatform) -> None:
        def rests() -> bool:  # callers that hung up have left their jobs behind
            jobs = platform.health()["jobs"]
            return not jobs["inProgress"] and not jobs["inQueue"]

        try:
            eventually(rests, 60)
        except AssertionError:
            state = platform.state()
            self.outcome.wrong.append(f"still at work: {state['workers']}\n{platform.log[-3000:]}")
        for job in platform.state()["jobs"]:
            if (
                job["status"] not in FINAL
                or job["accepted"] > 1
                or (job["status"] == "COMPLETED" and not job["accepted"])
            ):
                self.outcome.wrong.append(f"not exactly one end: {job}")
        odd = [line for line in platform.log.splitlines() if NEVER_SAID.search(line)]
        if odd and "pids" not in self.kinds:  # a thread that cannot be started is a RuntimeError
            self.outcome.wrong.append(f"in the log: {odd[0]}")
        gauge = platform.runsync({"path": "/gauge"})["output"]
        assert gauge["in_flight"] == 0, "the server still works on something"

    def _check_worker(self, platform: LocalPlatform, first: str) -> None:
        """It lives on. Where no process can be started it gives up, by its own rule, and the platform replaces it."""
        exits = re.findall(
            r"worker \w+ (exited with status \d+|was killed by \w+|could not start.*) after", platform.log
        )
        self.outcome.chaos["workers replaced"] = len(exits)
        if "pids" not in self.kinds:
            assert exits == [], exits
            assert worker_of(platform)[0] == first, "the worker itself was replaced"
        elif odd := [ending for ending in exits if not ending.startswith("exited with status")]:
            self.outcome.wrong.append(f"a worker {odd[0]}: {platform.log[-3000:]}")


async def _one_job(http: httpx.AsyncClient, order: Order) -> dict[str, Any]:
    body = as_body(order)
    if order.sync and order.cancel_after is None:
        response = await http.post("/runsync?wait=100000", content=body)
        return dict(response.json()) if response.status_code == 200 else {"status": f"refused {response.status_code}"}
    response = await http.post("/run", content=body)
    if response.status_code != 200:
        return {"status": f"refused {response.status_code}"}
    job_id = response.json()["id"]
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


def _error_code(view: dict[str, Any]) -> str:
    """The worker's errors are JSON with a code and a message that says something; the platform's are its words."""
    try:
        error = json.loads(view["error"])
    except ValueError:
        return str(view["error"])
    return str(error["code"]) if error["message"] and error["type"] else f"incomplete error {error}"
