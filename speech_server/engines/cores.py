"""How many cores this process may use: a container sees all of the host's, and may have a fraction of them."""

from __future__ import annotations

import os
from math import ceil, inf
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def core_count(cgroup: Path = _CGROUP) -> int:
    """The smaller of the CPU affinity and the container's CPU quota; at least 1."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(cgroup)
    return affinity if quota == inf else max(1, min(affinity, ceil(quota)))


def _quota(cgroup: Path) -> float:
    """Cores' worth of time per period: `cpu.max` of cgroup v2, or v1's pair of files; inf without a limit."""
    try:
        if (limits := cgroup / "cpu.max").exists():
            allowed, period = limits.read_text().split()
        else:
            allowed, period = ((cgroup / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return inf if allowed == "max" or int(allowed) <= 0 else int(allowed) / int(period)
    except (OSError, ValueError):  # not Linux, or not mounted
        return inf
