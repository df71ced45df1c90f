"""Trouble that strikes for a while and is over: a stopped server, a full disk, no more processes, deaf callers."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

from local_runpod.processes import members
from tests.local_runpod.local_platform import LocalPlatform
from tests.soak.cage import Cage, empty, fill, limit_processes

PAUSE = 1.5  # seconds between two strikes
CALLERS = 20  # that read nothing, in one strike
FLOOD = 200  # names at once


class Strikes:
    """One after another, each kind in turn; `counts` how often. `flood` sends that many jobs with slow names."""

    def __init__(
        self,
        platform: LocalPlatform,
        cage: Cage,
        kinds: frozenset[str],
        dice: random.Random,
        flood: Callable[[int], Awaitable[None]],
    ) -> None:
        self.platform, self.cage, self.dice, self.flood = platform, cage, dice, flood
        ways = {
            "stop": self._stop_server,
            "disk": self._fill_disk,
            "pids": self._limit_processes,
            "callers": self._deaf_callers,
            "names": self._flood_names,
        }
        self.ways = {kind: ways[kind] for kind in ways if kind in kinds}
        self.counts: Counter[str] = Counter()
        self._enough = asyncio.Event()

    async def go_on(self) -> None:
        """Until `end`, whole rounds: every kind has its turn, in one order or another."""
        while self.ways and not self._enough.is_set():
            for kind in self.dice.sample(sorted(self.ways), len(self.ways)):
                await self.ways[kind]()
                await asyncio.sleep(PAUSE)

    def end(self) -> None:
        self._enough.set()

    async def _stop_server(self) -> None:
        """Never SIGCONT: the supervisor has to see it and put another in its place."""
        stopped = await asyncio.to_thread(self._signal, signal.SIGSTOP)
        self.counts["servers stopped"] += stopped
        await asyncio.sleep(self.dice.uniform(3, 6))

    def _signal(self, number: int) -> int:
        worker_id, _ = worker_of(self.platform)
        return min(1, self.platform.kill(worker_id, number, "stand_in_server") if worker_id else 0)

    async def _fill_disk(self) -> None:
        _, pid = await asyncio.to_thread(worker_of, self.platform)
        assert self.cage.disk
        if not pid or not (disk := inside(pid, self.cage.disk)).exists():
            return
        self.counts["disks filled"] += 1
        for _ in range(self.dice.randint(15, 40)):
            await asyncio.to_thread(fill, disk)
            await asyncio.sleep(0.1)
        empty(disk)

    async def _limit_processes(self) -> None:
        assert self.cage.cgroup
        self.counts["processes limited"] += 1
        limit_processes(self.cage.cgroup, "1")
        try:
            await asyncio.sleep(self.dice.choice((1, 2, 5)))
        finally:
            limit_processes(self.cage.cgroup, "max")

    async def _flood_names(self) -> None:
        self.counts["floods of names"] += 1
        await self.flood(FLOOD)

    async def _deaf_callers(self) -> None:
        url = urlsplit(self.platform.base)
        calls = [_call(url.path, self.dice) for _ in range(CALLERS)]
        self.counts["deaf callers"] += CALLERS
        async with asyncio.TaskGroup() as group:
            for request, seconds in calls:
                group.create_task(_say_and_wait((str(url.hostname), url.port or 80), request, seconds))


def _call(base: str, dice: random.Random) -> tuple[bytes, float]:
    """A request, whole or not, and the seconds for which its sender then reads nothing."""
    size = dice.choice((10, 3_000_000, 12_000_000))
    job = {"path": "/give", "query": {"type": "audio/wav", "size": size}, "method": "GET"}
    body = json.dumps({"input": job}).encode()
    head = f"POST {base}/runsync HTTP/1.1\r\nHost: soak\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    whole = head + body
    cut = dice.choice((len(whole), len(whole), len(head) + 5, len(head) // 2))
    return whole[:cut], dice.choice((0, 0.2, 4))


async def _say_and_wait(address: tuple[str, int], request: bytes, seconds: float) -> None:
    with socket.socket() as caller:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # hangs up with a reset
        caller.setblocking(False)
        await asyncio.get_running_loop().sock_connect(caller, address)
        await asyncio.get_running_loop().sock_sendall(caller, request)
        await asyncio.sleep(seconds)


def worker_of(platform: LocalPlatform) -> tuple[str, int]:
    """The id and process number of the worker that runs; ("", 0) while there is none."""
    workers = platform.state()["workers"]
    return (workers[0]["id"], workers[0]["pid"]) if workers and members(workers[0]["id"]) else ("", 0)


def inside(pid: int, path: Path) -> Path:
    """A path as that process sees it, in its own mount namespace."""
    return Path(f"/proc/{pid}/root{path}")
