"""How much memory models may take: a container sees the host's, and is killed when it takes more than its own."""

from __future__ import annotations

import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_MB = 1_000_000
_RESERVE = 512 * _MB  # the program itself, and the audio of the requests


def model_budget(megabytes: int, cgroup: Path = _CGROUP) -> int:
    """Bytes; 0 for no limit. `megabytes` is MODEL_MEMORY_MB: 0 means by the container's memory, -1 no limit.

    Four fifths less the reserve, for an engine takes more while it works than its weights; at least half.
    """
    if megabytes:
        return max(megabytes, 0) * _MB
    total = container_memory(cgroup)
    return max(total * 4 // 5 - _RESERVE, total // 2)


def free_memory(cgroup: Path = _CGROUP) -> int:
    """Bytes this process may still take: what it has, and the reserve, are taken off the container's memory."""
    return max(container_memory(cgroup) - _RESERVE - _resident(), 0)


def _resident() -> int:
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # not Linux
        return 0


def container_memory(cgroup: Path = _CGROUP) -> int:
    """Bytes: the smaller of the machine's memory and the container's limit, cgroup v2's or v1's."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in (cgroup / "memory.max", cgroup / "memory" / "memory.limit_in_bytes"):
        try:
            return min(physical, int(limit.read_text()))
        except (OSError, ValueError):  # not there, not Linux, or "max"
            continue
    return physical
