"""How the process ends while a library is in the middle of something: in time, with a status, never by abort."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from speech_server.models.disk.cache import Cache
from tests.conftest import WHISPER, ServerProcess
from tests.speech_server.models.conftest import install, real_folder

LIMIT = 30.0  # seconds any wait here may take
MODEL = "a/endless"


class Endless:
    """A Whisper model with one more file, which CTranslate2 opens and never reads to its end: a pipe."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self._pipe = install(Cache(cache / "hub"), MODEL, self._make) / "vocabulary.json"
        self._open: int | None = None

    def _make(self, folder: Path) -> Path:
        folder.mkdir(parents=True)
        for file in real_folder(WHISPER).iterdir():
            (folder / file.name).symlink_to(file.resolve())
        os.mkfifo(folder / "vocabulary.json")
        return folder

    def wait_until_loading(self) -> None:
        deadline = time.monotonic() + LIMIT
        while self._open is None:
            try:
                self._open = os.open(self._pipe, os.O_WRONLY | os.O_NONBLOCK)  # fails while nobody reads
            except OSError:
                assert time.monotonic() < deadline, "nobody opened the model"
                time.sleep(0.01)

    def close(self) -> None:
        if self._open is not None:
            os.close(self._open)


@pytest.fixture
def endless(tmp_path: Path) -> Iterator[Endless]:
    model = Endless(tmp_path / "hf")
    yield model
    model.close()


def start(model: Endless, **env: str) -> ServerProcess:
    return ServerProcess({"HF_HOME": str(model.cache), "INT8_CACHE": "false", **env})


def test_sigterm_during_a_load_ends_the_process_in_time_with_status_0(endless: Endless):
    server = start(endless, PRELOAD_MODELS=MODEL)
    try:
        endless.wait_until_loading()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(LIMIT) == 0
    finally:
        server.stop()


def test_a_load_past_its_limit_ends_the_process_with_a_status_and_the_reason(endless: Endless):
    server = start(endless, MODEL_LOAD_TIMEOUT="0.5")
    try:
        answer = httpx.post(f"{server.url}/api/ps/{MODEL}", timeout=LIMIT)
        assert (answer.status_code, answer.json()["error"]["code"]) == (504, "model_load_timeout")
        assert server.process.wait(LIMIT) == 1
    finally:
        server.stop()
    log = "".join(server.lines)
    assert f"loading {MODEL} has not returned in" in log
    assert "MODEL_LOAD_TIMEOUT allows 0.5" in log


def test_a_preload_past_its_limit_ends_the_process(endless: Endless):
    server = start(endless, MODEL_LOAD_TIMEOUT="0.5", PRELOAD_MODELS=MODEL)
    try:
        assert server.process.wait(LIMIT) == 1
    finally:
        server.stop()
    assert "MODEL_LOAD_TIMEOUT" in "".join(server.lines)
