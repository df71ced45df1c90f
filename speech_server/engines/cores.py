"""How many cores this process may use: a container sees all of the host's, and may have a fraction of them."""

from __future__ import annotations

import os
from math import ceil, inf
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def core_count(cgroup: Path = _CGROUP) -> int:
    """The smallest of the CPU affinity, the container's CPU quota and CPU_COUNT, which stands for what a platform
    allows and the system does not show; at least 1."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    allowed = min(affinity, _quota(cgroup), _told() or inf)
    return max(1, ceil(allowed))


def _told() -> int:
    """Read here, for it is asked while modules are imported; the settings refuse what is no number."""
    text = os.environ.get("CPU_COUNT", "")
    return int(text) if text.isdecimal() else 0


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
