"""Shared by all tests: the real models, pulled once, and a real speech server process per test worker."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
WHISPER = "Systran/faster-whisper-base"
KOKORO = "speaches-ai/Kokoro-82M-v1.0-ONNX"
PIPER = "speaches-ai/piper-en_US-joe-medium"
ENCODER = "campplus"

# The tests never ask a hub: what they need was pulled by `make models`.
os.environ.setdefault("HF_HUB_OFFLINE", "1")


class ServerProcess:
    """A speech server on a free port; `url` once it answers."""

    def __init__(self, env: dict[str, str] | None = None, *options: str, within: tuple[str, ...] = ()) -> None:
        self.lines: list[str] = []
        self._ready = threading.Event()
        self.url = ""
        self.process = subprocess.Popen(
            [*within, sys.executable, "-m", "speech_server", "--host", "127.0.0.1", "--port", "0", *options],
            cwd=ROOT,
            env={**os.environ, **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        threading.Thread(target=self._read, daemon=True).start()
        if not self._ready.wait(60) or not self.url:
            self.process.kill()
            raise RuntimeError("the speech server did not start:\n" + "".join(self.lines))

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line)
            if found := re.search(r"Uvicorn running on (http://[\d.]+:\d+)", line):
                self.url = found[1]
                self._ready.set()
        self._ready.set()

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()


@pytest.fixture(scope="session")
def server() -> Iterator[ServerProcess]:
    """The shared server: default settings. Tests that need other settings start their own ServerProcess."""
    process = ServerProcess()
    yield process
    process.stop()


@pytest.fixture(scope="session")
def server_url(server: ServerProcess) -> str:
    return server.url


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    import ctranslate2

    if ctranslate2.get_cuda_device_count() == 0:
        for item in items:
            if item.get_closest_marker("gpu"):  # not by keyword, which the name of a folder is too
                item.add_marker(pytest.mark.skip(reason="needs an NVIDIA GPU"))
