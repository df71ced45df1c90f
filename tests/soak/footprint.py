"""What a worker holds: tasks, files, processes, bytes on disk, memory. After a soak it must be what it was before."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from local_runpod.processes import members
from tests.local_runpod.local_platform import LocalPlatform, eventually
from tests.soak.strikes import inside


@dataclass(frozen=True)
class Footprint:
    tasks: int
    files: int
    processes: int
    platform_files: int  # of local_runpod: connections of callers that never read are such
    temporary: tuple[str, ...]
    megabytes: int  # on the worker's own disk, files without a name too; 0 where it has none


class Scales:
    def __init__(self, platform: LocalPlatform, temporary: Path, *, own_disk: bool) -> None:
        self.platform, self.temporary, self.own_disk = platform, temporary, own_disk

    def settled(self) -> Footprint:
        """Once idle connections have been closed: two looks in a row that are the same."""
        last = None
        limit = time.monotonic() + 60
        while time.monotonic() < limit:
            now = self.look()
            if now == last:
                return now
            last = now
            httpx.get(f"{self.platform.base}/health")
            eventually(_after(3))
        raise AssertionError(f"the worker does not settle: {last}")

    def look(self) -> Footprint:
        (worker,) = self.platform.state()["workers"]
        seen = len(self.platform.lines)
        psutil.Process(worker["pid"]).send_signal(signal.SIGUSR1)
        found = eventually(
            lambda: re.search(r"counted tasks=(\d+) files=(\d+)", "".join(self.platform.lines[seen:])),
            what="the count",
        )
        folder = inside(worker["pid"], self.temporary) if self.own_disk else self.temporary
        names = tuple(sorted(str(path.relative_to(folder)) for path in folder.rglob("*")))
        disk = os.statvfs(folder)
        used = (disk.f_blocks - disk.f_bfree) * disk.f_frsize >> 20 if self.own_disk else 0
        platform_files = psutil.Process(self.platform.process.pid).num_fds()
        return Footprint(int(found[1]), int(found[2]), len(members(worker["id"])), platform_files, names, used)

    def check(self, before: Footprint) -> None:
        """Keep-alive connections come and go (the SDK's close after 15 s): waits for the moment without them."""

        def settled() -> bool:
            nonlocal now
            now = self.look()
            return (
                (now.tasks, now.processes, now.temporary) == (before.tasks, before.processes, before.temporary)
                and now.files <= before.files
                and now.platform_files <= before.platform_files + 2
                and now.megabytes <= before.megabytes
            )

        now = before
        limit = time.monotonic() + 45
        while not settled():
            assert time.monotonic() < limit, f"left over: {now}, before {before}\n{self.platform.log[-3000:]}"
            eventually(_after(0.5))


def memory_grows(megabytes: list[float], typical: Callable[[list[float]], float]) -> bool:
    """Flat: between results of 30 MB, the last third of the run needs hardly more than the middle one."""
    third = len(megabytes) // 3
    if not third:
        return False
    return typical(megabytes[2 * third :]) > 1.2 * typical(megabytes[third : 2 * third]) + 10


def _after(seconds: float) -> Callable[[], Any]:
    limit = time.monotonic() + seconds
    return lambda: time.monotonic() > limit
