"""Ten hours over 1 to 32 workers that sleep as long as an L4 would work: how much of them is used.

The command, the platform's control plane and the workers' SDK are the real ones, the rates of its API are limited.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import wave
from pathlib import Path

from benchmarks.report import Report
from benchmarks.server import served
from tests.conftest import ROOT
from tests.local_runpod.local_platform import LocalPlatform

SPEED = 73.0  # times real time: turbo on one L4
HANDLER = ROOT / "tests" / "endpoint" / "bulk" / "sleepy_handler.py"
AIMS = {8: 0.90, 32: 0.75}
WORKERS = tuple(int(count) for count in os.environ.get("BULK_WORKERS", "1,2,4,8,16,32").split(","))


def run(report: Report) -> None:
    with tempfile.TemporaryDirectory() as folder, served(Path(folder)) as files:
        for workers in WORKERS:
            hours = min(10, 2 * workers)
            _silence(Path(folder) / "recording.wav", hours)
            for piece in (600, 300) if workers >= 8 else (600,):
                efficiency, wall = _efficiency(files.url, workers, hours, piece, Path(folder) / f"{workers}-{piece}")
                label = f"{workers} workers, {hours} h in pieces of {piece} s"
                aim = AIMS.get(workers) if piece == 600 else None
                report.add(label, efficiency, "of their time", at_least=aim, note=f"{wall:.0f} s")


def _efficiency(url: str, workers: int, hours: int, piece: int, out: Path) -> tuple[float, float]:
    env = {"SLEEPY_SPEED": str(SPEED), "SLEEPY_TAIL": str(piece), "RUNPOD_LOG_LEVEL": "ERROR", "PYTHONPATH": str(ROOT)}
    with LocalPlatform(
        [sys.executable, "-u", HANDLER], env=env, workers=workers, no_rate_limits=False, ready_seconds=300
    ) as platform:
        command = [sys.executable, "-m", "endpoint", "transcribe", f"{url}/recording.wav", "--at", platform.base]
        options = ["--out", str(out), "--workers", str(workers), "--piece", str(piece), "--json"]
        began = time.perf_counter()
        done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, timeout=1200, check=False)
        wall = time.perf_counter() - began
        if done.returncode:
            raise RuntimeError(done.stderr)
    (line,) = json.loads(done.stdout)["recordings"]
    assert line["pieces"] == hours * 3600 // piece, line
    return hours * 3600 / SPEED / (workers * wall), wall


def _silence(path: Path, hours: int) -> None:
    """A wav without a byte on the disk."""
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, hours * 3600 * 16_000, "NONE", "NONE"))
        file.writeframes(b"\0\0")
    os.truncate(path, 44 + 2 * hours * 3600 * 16_000)
    size = path.stat().st_size
    with path.open("r+b") as header:
        for at, value in ((4, size - 8), (40, size - 44)):
            header.seek(at)
            header.write(value.to_bytes(4, "little"))
