"""What a card reaches, step by step, against arithmetic: without a network, in 25 minutes at most.

Each section is a process of its own with a limit: what a card's error or a slow machine ends is one section, and the
rows it had told by then are kept.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from subprocess import PIPE
from typing import IO

from benchmarks.gpu.cards import find_card
from benchmarks.gpu.driver import find_driver
from benchmarks.gpu.section import SECTIONS
from benchmarks.report import Report, Row

_LIMITS = {"steps": 600, "memory": 420, "speech": 200, "front_end": 200}  # seconds
_LIBRARIES = ("ctranslate2", "faster-whisper", "onnxruntime-gpu", "onnxruntime", "kokoro-onnx", "av", "numpy")
_CUDA_LIBRARIES = ("nvidia-cublas-cu12", "nvidia-cudnn-cu12")


def run(report: Report, *, tiny: bool = False, sections: Sequence[str] = ()) -> None:
    """`tiny`: shapes for a CPU, which show that every section runs to its end."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that sections and models do not stay behind
    report.machine |= _machine()
    for name, value in report.machine.items():
        print(f"  {name}: {value}")
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        for name in sections or SECTIONS:
            print(f"  {SECTIONS[name]}", flush=True)
            _section(report, name, Path(folder), tiny, _LIMITS[name])


def _machine() -> dict[str, object]:
    driver = find_driver()
    about: dict[str, object] = {"card": "none: NVIDIA's driver shows none"}
    if driver:
        about = {
            "card": f"{driver.name()}, {driver.total() / 1e9:.1f} GB, {driver.used() / 1e9:.1f} GB taken before",
            "driver": f"{driver.version()}, CUDA {driver.cuda()}",
        }
        if not find_card(driver.name()):
            about["expectations"] = "none: this card is not in benchmarks/gpu/cards.py"
    return about | {"versions": ", ".join(_versions())}


def _versions() -> list[str]:
    found = []
    for name in (*_LIBRARIES, *_CUDA_LIBRARIES):
        with suppress(importlib.metadata.PackageNotFoundError):
            found.append(f"{name} {importlib.metadata.version(name)}")
    return found


def _section(report: Report, name: str, folder: Path, tiny: bool, limit: float) -> None:
    command = [sys.executable, "-m", "benchmarks.gpu.section", name, str(folder), *(["--tiny"] if tiny else [])]
    late = threading.Event()
    with tempfile.TemporaryFile("w+", errors="replace") as errors:
        # A session of its own, so that what it started ends with it.
        with subprocess.Popen(command, stdout=PIPE, stderr=errors, text=True, start_new_session=True) as process:

            def end() -> None:
                late.set()
                _kill(process)

            timer = threading.Timer(limit, end)
            timer.start()
            try:
                assert process.stdout
                for line in process.stdout:
                    tell(report, line)
                process.wait()
            finally:
                timer.cancel()
                _kill(process)
        if late.is_set():
            report.skip(f"the rest of {name}", f"it took longer than {limit:g} s")
        elif process.returncode:
            report.skip(f"the rest of {name}", f"it ended with {process.returncode}: {_last_words(errors)}")


def tell(report: Report, line: str) -> None:
    """Put a line of a section into the report; what a library says there is shown only."""
    if not line.startswith("{"):
        print("  " + line.rstrip())
        return
    told = json.loads(line)
    if "row" in told:
        report.put(Row(**told["row"]))
    else:
        report.skip(*told["skipped"])


def _kill(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _last_words(errors: IO[str]) -> str:
    errors.seek(0)
    return " / ".join(errors.read().splitlines()[-3:])[-500:]
