"""Large files and results go through the worker, not into it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.test_handler import post_when_up
from tests.worker.conftest import STAND_IN

ALLOWED_MB = 40


class Worker:
    """handler.py behind the SDK's local API, whose memory is looked at."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://localhost:{port}/runsync"
        self.process = subprocess.Popen(
            [sys.executable, "-u", "handler.py", "--rp_serve_api", "--rp_api_port", str(port)],
            env={
                **os.environ,
                "SPEECH_SERVER_COMMAND": STAND_IN,
                "RUNPOD_ALLOW_PRIVATE_DOWNLOAD_URLS": "true",
                "WORKER_MIN_FREE_DISK_MB": "0",
            },
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def run(self, **job_input: Any) -> dict[str, Any]:
        return post_when_up(self.url, {"input": job_input})

    def forget_peak(self) -> float:
        """From where the peak counts now, in MB."""
        try:
            Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")
        except PermissionError:  # the worker hides from all but root (prctl.py): then from the peak so far
            return self.megabytes("VmHWM")
        return self.megabytes("VmRSS")

    def megabytes(self, field: str) -> float:
        """VmRSS is what it holds now, VmHWM the most since `forget_peak`."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition(f"{field}:")[2].split()[0]) / 1024


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    running = Worker()
    yield running
    running.process.terminate()
    running.process.wait(20)


@pytest.fixture(scope="module")
def server_url(worker: Worker) -> str:
    return "http://127.0.0.1:" + worker.run(path="/environment")["output"]["UVICORN_PORT"]


def test_a_file_of_300_mb_passes_through(worker: Worker, server_url: str):
    worker.run(path="/echo", file_url=f"{server_url}/give/a.wav?size=2000000")
    idle = worker.forget_peak()
    done = worker.run(path="/echo", file_url=f"{server_url}/give/a.wav?size=300000000")
    assert done["output"]["size"] > 300_000_000
    assert worker.megabytes("VmHWM") - idle < ALLOWED_MB


def test_a_result_of_40_mb_that_is_refused_is_never_held(worker: Worker):
    worker.run(path="/give?type=audio/wav&size=2000000", method="POST")
    idle = worker.forget_peak()
    done = worker.run(path="/give?type=audio/wav&size=40000000", method="POST")
    assert "reply_too_large" in done["error"]
    assert worker.megabytes("VmHWM") - idle < ALLOWED_MB / 2


def test_large_results_are_given_back_once_they_are_sent(worker: Worker):
    worker.run(path="/give?type=audio/wav&size=2000000", method="POST")
    idle = worker.megabytes("VmRSS")
    for size in (5_000_000, 7_000_000, 6_000_000, 7_300_000):
        done = worker.run(path=f"/give?type=audio/wav&size={size}", method="POST")
        assert done["status"] == "COMPLETED"
    assert worker.megabytes("VmRSS") - idle < 10
