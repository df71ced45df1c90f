"""The gateway as its user starts it, in front of the real worker under local_runpod."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.conftest import ROOT
from tests.local_runpod.local_platform import LocalPlatform, eventually


@dataclass
class RunningGateway:
    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)
    reader: threading.Thread = field(default_factory=threading.Thread)

    @property
    def url(self) -> str:
        found = re.search(r"at (http://[\d.]+:\d+)/v1", "".join(self.lines))
        return found[1] if found else ""

    @property
    def log(self) -> str:
        return "".join(self.lines)


def start(*arguments: str, **environment: str) -> RunningGateway:
    env = {name: value for name, value in os.environ.items() if not name.endswith("API_KEY")} | environment
    command = [sys.executable, "-m", "endpoint", "gateway", *arguments, "--port", "0"]
    process = subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True)
    running = RunningGateway(process)

    def read_lines() -> None:
        assert process.stderr
        for line in process.stderr:
            running.lines.append(line)

    running.reader = threading.Thread(target=read_lines, daemon=True)
    running.reader.start()
    eventually(lambda: running.url or process.poll() is not None, 30, "the gateway's URL")
    return running


def stop(running: RunningGateway) -> None:
    running.process.send_signal(signal.SIGINT)
    try:
        running.process.wait(20)
    finally:
        running.process.kill()
        running.process.wait()
        running.reader.join(10)
        assert running.process.stderr
        running.process.stderr.close()


@pytest.fixture(scope="session")
def gateway(queue_url: str) -> Iterator[RunningGateway]:
    running = start(queue_url, RUNPOD_API_KEY="any")
    yield running
    stop(running)


@pytest.fixture(scope="session")
def echo() -> Iterator[LocalPlatform]:
    """A worker before a server that does what its path says: /sleep, /give."""
    with LocalPlatform([sys.executable, "-u", "handler.py"], env=stand_in()) as platform:
        yield platform


def stand_in() -> dict[str, str]:
    return {
        "SPEECH_SERVER_COMMAND": f"{sys.executable} {ROOT / 'tests/worker/stand_in_server.py'}",
        "WORKER_CONCURRENCY": "4",
        "RUNPOD_ALLOW_PRIVATE_DOWNLOAD_URLS": "true",
    }
