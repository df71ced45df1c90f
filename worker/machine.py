"""What the platform says of this machine, for programs that know no platform: whether it has a GPU, how many cores."""

from __future__ import annotations

from collections.abc import Mapping

# A GPU is fed by batches of many requests' work: Runpod's worker for vLLM takes 30 as well.
_JOBS_ON_GPU, _JOBS_ON_CPU = 30, 4


def job_count(environ: Mapping[str, str]) -> int:
    """How many jobs to take at once, where nobody says."""
    return _JOBS_ON_GPU if _count(environ, "RUNPOD_GPU_COUNT") else _JOBS_ON_CPU


def for_the_server(environ: Mapping[str, str]) -> dict[str, str]:
    """The server's settings that follow; start.sh says the same where there is no worker."""
    told = {}
    if _count(environ, "RUNPOD_GPU_COUNT"):
        told["REQUIRE_GPU"] = "true"
    if cores := _count(environ, "RUNPOD_CPU_COUNT"):
        told["CPU_COUNT"] = str(cores)
    return {name: value for name, value in told.items() if not environ.get(name, "").strip()}


def _count(environ: Mapping[str, str], name: str) -> int:
    text = environ.get(name, "").strip()
    return int(text) if text.isdecimal() else 0
