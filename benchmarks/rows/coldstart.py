"""How soon after a process starts it is of use, against importing the runpod SDK in the same run."""

from __future__ import annotations

import base64
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

from benchmarks.clips import ten_seconds
from benchmarks.report import Report, median
from benchmarks.server import ControlPlane, speech_server, worker

REPEATS = 7


def run(report: Report) -> None:
    clip = ten_seconds()
    health: list[float] = []
    taken: list[float] = []
    answered: list[float] = []

    def import_runpod() -> None:
        subprocess.run([sys.executable, "-c", "import runpod"], check=True)

    def first_health() -> None:
        with speech_server() as running:
            urllib.request.urlopen(running.url + "/health", timeout=10).read()
            health.append(time.perf_counter() - running.started)

    def first_poll() -> None:
        taken.append(_first_poll())

    def first_answer() -> None:
        answered.append(_first_answer(clip))

    import_runpod()  # once for the page cache and the bytecode
    first_health()
    health.clear()
    times = report.interleave(
        REPEATS, imported=import_runpod, health=first_health, poll=first_poll, answer=first_answer
    )
    reference = median(times["imported"])
    against = "python -c 'import runpod'"
    report.add("process start to /health of the server", median(health) / reference, against=against, at_most=0.5)
    report.add("process start to first job taken", median(taken) / reference, against=against, at_most=1.05)
    report.add(
        "process start to first 10 s clip transcribed, preloaded",
        median(answered) / reference,
        against=against,
        at_most=1.6,
    )
    _idle_memory(report)


def _first_poll() -> float:
    plane = ControlPlane()
    try:
        with worker(plane) as running:
            if not plane.asked.wait(60):
                raise RuntimeError("the worker asked for no job:\n" + "".join(running.lines[-20:]))
            return plane.asked_first - running.started
    finally:
        plane.close()


def _first_answer(clip: Path) -> float:
    plane = ControlPlane()
    plane.jobs.put(
        {
            "id": "cold-start",
            "input": {
                "path": "/v1/audio/transcriptions",
                "file_base64": base64.b64encode(clip.read_bytes()).decode(),
                "file_name": clip.name,
                "body": {"model": "Systran/faster-whisper-base", "language": "en"},
            },
        }
    )
    try:
        with worker(plane, {"PRELOAD_MODELS": "Systran/faster-whisper-base"}) as running:
            at, result = plane.results.get(timeout=60)
            if "text" not in (result.get("output") or {}):
                raise RuntimeError(f"the job failed: {result}\n" + "".join(running.lines[-20:]))
            return at - running.started
    finally:
        plane.close()


def _idle_memory(report: Report) -> None:
    plane = ControlPlane()
    try:
        with worker(plane) as running:
            plane.asked.wait(30)
            threading.Event().wait(3)  # let start-up settle
            report.add("idle memory of worker and server, no model", running.memory_mb(), "MB", at_most=200)
    finally:
        plane.close()
