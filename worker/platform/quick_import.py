"""Imports the SDK without the CPU probe it runs at import: a second of every cold start, for a line nobody prints."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType


def import_runpod() -> ModuleType:
    """runpod 1.12's rp_debugger calls py-cpuinfo at import, which starts processes and times the CPU (1.1 of 1.5 s).

    It reads `brand_raw` only; Linux tells that in a file. Anybody who imports cpuinfo later gets the real one.
    """
    probe = ModuleType("cpuinfo")
    probe.get_cpu_info = lambda: {"brand_raw": _cpu_name()}  # type: ignore[attr-defined]
    known = sys.modules.setdefault("cpuinfo", probe)
    import runpod

    if known is probe:
        del sys.modules["cpuinfo"]
    return runpod  # type: ignore[no-any-return]  # runpod has no types


def _cpu_name() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
