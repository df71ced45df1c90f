"""Starts local_runpod with real workers, as a process of its own, and talks to it as a client does."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import httpx

from tests.conftest import ROOT

FINAL = {"COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"}

T = TypeVar("T")


def eventually(look: Callable[[], T], seconds: float = 20.0, what: str = "condition") -> T:
    """Looks until the answer is truthy; the last look's answer is in the failure."""
    limit = time.monotonic() + seconds
    pause = threading.Event()
    while not (seen := look()):
        assert time.monotonic() < limit, f"{what}: still {seen!r} after {seconds} s"
        pause.wait(0.02)
    return seen


class LocalPlatform:
    """`with LocalPlatform([sys.executable, "-u", "handler.py"], ping_interval=1) as platform:`

    Keywords are local_runpod's flags. `env` is added to the workers' environment. Ready when all workers ask for jobs.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        env: dict[str, str] | None = None,
        ready_seconds: float = 60.0,
        **flags: Any,
    ) -> None:
        self.lines: list[str] = []
        flags = {"port": 0, "ping_interval": 1, "no_rate_limits": True} | flags
        arguments = [
            f"--{name.replace('_', '-')}" if value is True else f"--{name.replace('_', '-')}={value}"
            for name, value in flags.items()
            if value is not False
        ]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "local_runpod", *arguments, "--", *map(str, command)],
            cwd=ROOT,
            env={**os.environ, "RUNPOD_LOG_LEVEL": "INFO", **(env or {})},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        wanted = flags.get("workers", 1)
        try:
            self.base = eventually(self._find_base, 30, "local_runpod's URL")
            self.url = self.base.rsplit("/v2/", 1)[0]
            headers = {"Authorization": f"Bearer {flags.get('api_key', 'any')}"}
            self.client = httpx.Client(timeout=120, headers=headers)
            eventually(lambda: self.health()["workers"]["ready"] == wanted, ready_seconds, "all workers ready")
        except BaseException:
            self.stop()
            print("".join(self.lines[-60:]), file=sys.stderr)
            raise

    def _read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self.lines.append(line)

    def _find_base(self) -> str:
        assert self.process.poll() is None, "".join(self.lines)
        found = re.search(r"Runpod on this machine: (\S+)", "".join(self.lines))
        return found[1] if found else ""

    @property
    def log(self) -> str:
        return "".join(self.lines)

    # As a client.

    def run(self, job_input: Any, **body: Any) -> str:
        response = self.client.post(f"{self.base}/run", json={"input": job_input, **body})
        assert response.status_code == 200, response.text
        return str(response.json()["id"])

    def runsync(self, job_input: Any, wait: int = 120_000, **body: Any) -> dict[str, Any]:
        response = self.client.post(f"{self.base}/runsync?wait={wait}", json={"input": job_input, **body})
        assert response.status_code == 200, response.text
        return dict(response.json())

    def status(self, job_id: str) -> dict[str, Any]:
        return dict(self.client.get(f"{self.base}/status/{job_id}").json())

    def wait(self, job_id: str, seconds: float = 60.0) -> dict[str, Any]:
        """The job's view once it has ended."""
        eventually(lambda: self.status(job_id)["status"] in FINAL, seconds, f"job {job_id} ended")
        return self.status(job_id)

    def wait_until_running(self, job_id: str, seconds: float = 20.0) -> None:
        eventually(lambda: self.status(job_id)["status"] == "IN_PROGRESS", seconds, f"job {job_id} running")

    def stream(self, job_id: str) -> Iterator[Any]:
        """The pieces of a job, until it has ended and nothing is left."""
        while True:
            seen = self.client.get(f"{self.base}/stream/{job_id}").json()
            for piece in seen["stream"]:
                yield piece["output"]
            if seen["status"] in FINAL and not seen["stream"]:
                return

    def cancel(self, job_id: str) -> dict[str, Any]:
        return dict(self.client.post(f"{self.base}/cancel/{job_id}").json())

    def health(self) -> dict[str, Any]:
        return dict(self.client.get(f"{self.base}/health").json())

    # As somebody who makes trouble.

    def state(self) -> dict[str, Any]:
        return dict(self.client.get(f"{self.url}/admin/state").json())

    def trouble(self, **knobs: float) -> None:
        self.client.post(f"{self.url}/admin/trouble", json=knobs).raise_for_status()

    def kill(self, worker_id: str, signum: int = signal.SIGKILL, child: str = "") -> int:
        """Kills a worker, or its processes whose command line contains `child`. How many were signalled."""
        response = self.client.post(
            f"{self.url}/admin/workers/{worker_id}/kill", json={"signal": int(signum), "child": child}
        )
        return int(response.json().get("killed", 0))

    def stop(self, seconds: float = 40.0) -> int:
        """Ctrl-C; the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()
        finally:
            self._reader.join(10)
            assert self.process.stderr
            self.process.stderr.close()
            if hasattr(self, "client"):
                self.client.close()

    def __enter__(self) -> LocalPlatform:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
