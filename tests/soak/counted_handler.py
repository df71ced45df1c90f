"""handler.py, which also prints its number of asyncio tasks and open files on SIGUSR1."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

import handler


def report(*_: object) -> None:
    tasks = sorted(repr(task.get_coro()) for task in asyncio.all_tasks(asyncio.get_running_loop()))
    files = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - in a signal handler, the least
    os.write(1, f"counted tasks={len(tasks)} files={files} {tasks}\n".encode())


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, report)
    sys.exit(handler.main(sys.argv[1:]))
