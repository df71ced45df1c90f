"""python -m tests.soak.gateway [--calls 1000] [--kills 10] [--seed 1]: callers of a gateway on a bad line.

Connections to the platform are cut, answered 502 or late; workers are killed; callers leave, and those that stay repeat
as OpenAI's clients do. Every caller has to be answered or gone, no job may run twice, none may be left running.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

import httpx
import psutil

from tests.endpoint.gateway.conftest import RunningGateway, start, stop
from tests.local_runpod.local_platform import FINAL, LocalPlatform, eventually
from tests.soak.bad_line import BadLine, ended
from tests.soak.run import STAND_IN

CLIENTS = 16
REPEATS = 2  # what OpenAI's clients do by default
EACH = 0.04


@dataclass
class Outcome:
    calls: Counter[str] = field(default_factory=Counter)
    jobs: Counter[str] = field(default_factory=Counter)
    trouble: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0


def soak(calls: int, kills: int, seed: int) -> Outcome:
    env = {
        "SPEECH_SERVER_COMMAND": f"{sys.executable} {STAND_IN}",
        "WORKER_CONCURRENCY": "8",
        "RUNPOD_LOG_LEVEL": "ERROR",
    }
    with LocalPlatform(
        [sys.executable, "-u", "handler.py"], env=env, workers=2, lost_after=4, back_off=1, runsync_retention=600
    ) as platform:
        return asyncio.run(Soak(platform, calls, kills, seed).run())


class Soak:
    def __init__(self, platform: LocalPlatform, calls: int, kills: int, seed: int) -> None:
        self.platform, self.calls, self.dice = platform, calls, random.Random(seed)
        self.kill_at = [round((n + 1) * calls / (kills + 1)) for n in range(kills)]
        self.outcome = Outcome()
        self.begun = 0
        self.story: defaultdict[str, list[str]] = defaultdict(list)  # what came of each attempt, by mark

    async def run(self) -> Outcome:
        line = BadLine(self.platform.url, EACH, self.dice)
        began = time.monotonic()
        async with line.open():
            gateway = await asyncio.to_thread(start, f"{line.url}/v2/local", RUNPOD_API_KEY="any")
            try:
                async with httpx.AsyncClient(base_url=gateway.url, timeout=60) as http, asyncio.TaskGroup() as group:
                    for _ in range(CLIENTS):
                        group.create_task(self._client(http))
                line.each = 0.0
                await asyncio.to_thread(self._check_gateway, gateway)
            finally:
                await asyncio.to_thread(stop, gateway)
            await asyncio.to_thread(self._check_jobs, line)
        self.outcome.trouble = line.counts
        self.outcome.seconds = time.monotonic() - began
        if "Traceback" in gateway.log or "never retrieved" in gateway.log:
            self.outcome.wrong.append(f"the gateway's log: {gateway.log[-3000:]}")
        return self.outcome

    async def _client(self, http: httpx.AsyncClient) -> None:
        while self.begun < self.calls:
            self.begun += 1
            mark = f"m{self.begun}"
            if self.kill_at and self.begun >= self.kill_at[0]:
                del self.kill_at[0]
                await asyncio.to_thread(self._kill_a_worker)
            try:
                async with asyncio.timeout(self.dice.uniform(0.05, 1.0) if self.dice.random() < 0.15 else None):
                    ending = await self._call(http, mark)
            except TimeoutError:
                ending = "left"
            self.outcome.calls[ending] += 1

    def _kill_a_worker(self) -> None:
        workers = [worker["id"] for worker in self.platform.state()["workers"] if worker["pid"]]
        if workers:
            self.platform.kill(self.dice.choice(workers))
            self.outcome.jobs["workers killed"] += 1

    async def _call(self, http: httpx.AsyncClient, mark: str) -> str:
        """The way of a call, repeated as OpenAI's clients repeat; how it ended."""
        kind = self.dice.choice(("quick", "slow", "sound", "upload"))
        text = f"{mark} " * self.dice.choice((10, 5_000))
        orders: dict[str, dict[str, Any]] = {
            "quick": {"url": f"/v1/give?type=text/plain&mark={mark}", "json": {"say": text}},
            "slow": {"url": f"/v1/sleep?seconds={self.dice.uniform(0.2, 1.5):.2f}&mark={mark}", "json": {"say": text}},
            "sound": {"url": f"/v1/drip?type=audio/wav&count=5&pause=0.1&mark={mark}",
                      "json": {"say": text, "stream": True}},
            "upload": {"url": f"/v1/give?type=audio/wav&mark={mark}", "files": {"file": ("a.wav", text.encode())}},
        }  # fmt: skip
        for repeat in range(REPEATS + 1):
            try:
                reply = await http.post(**orders[kind], headers={"x-stainless-retry-count": str(repeat)})
            except httpx.TransportError as error:  # a stream that broke off
                ending = f"{type(error).__name__} {error}"
            else:
                ending = str(reply.status_code)
                if reply.status_code == 200:
                    if kind != "slow" and mark.encode() not in reply.content:
                        self.outcome.wrong.append(f"{kind} {mark} has the wrong answer: {reply.content[:200]!r}")
                    return f"{kind} answered"
                if reply.status_code not in (429, 500, 502, 503, 504):
                    self.outcome.wrong.append(f"{kind} {mark} was answered {ending}: {reply.text[:300]}")
                    break
            self.story[mark].append(f"{kind} {ending}")
            await asyncio.sleep(0.3 * 2**repeat)
        return f"{kind} gave up: {ending}"

    def _check_gateway(self, gateway: RunningGateway) -> None:
        process = psutil.Process(gateway.process.pid)

        def rests() -> bool:
            held = [link for link in process.net_connections("tcp") if link.status == "ESTABLISHED"]
            return len(held) <= CLIENTS + 20  # kept for later

        eventually(rests, 20, "the gateway's connections")
        if files := [file.path for file in process.open_files() if "deleted" in file.path]:
            self.outcome.wrong.append(f"uploads are still open: {files[:3]}")

    def _check_jobs(self, line: BadLine) -> None:
        def left() -> list[str]:
            return [job for job, status in ended(self.platform.state()).items() if status not in FINAL]

        try:
            eventually(lambda: not left(), 60)
        except AssertionError:
            self.outcome.wrong.append(f"still running: {left()}")
        states = ended(self.platform.state())
        for mark, jobs in line.jobs.items():
            endings = Counter(states[job] for job in jobs if job in states)
            # Another job is right only where nobody could know of the one before, or its worker was killed in the
            # middle of its sound: that broke off.
            broken = sum("RemoteProtocolError" in text for text in self.story[mark])
            if endings["COMPLETED"] > 1 + line.lost[mark] + broken:
                self.outcome.wrong.append(f"{mark} ran {endings}, receipts lost: {line.lost[mark]}: {self.story[mark]}")
            self.outcome.jobs.update(endings)
        self.outcome.jobs["receipts lost"] = line.lost.total()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.gateway", description=__doc__)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    outcome = soak(options.calls, options.kills, options.seed)
    for counts in (outcome.calls, outcome.jobs, outcome.trouble):
        print(*(f"{count:6} {name}" for name, count in sorted(counts.items())), sep="\n", end="\n\n")
    print(f"{outcome.calls.total()} calls in {outcome.seconds:.0f} s")
    for text in outcome.wrong:
        print(f"WRONG: {text}")
    return 1 if outcome.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
