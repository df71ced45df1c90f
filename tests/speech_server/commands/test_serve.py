"""Starting and stopping the server: one line for what is wrong, requests in flight end before it does."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest

from speech_server.commands.log import log_config
from speech_server.commands.serve import read_settings
from tests.conftest import ROOT, WHISPER, ServerProcess
from tests.speech_server.routes.conftest import CLIPS, silence


def start(*options: str, env: dict[str, str] | None = None, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "speech_server", "--host", "127.0.0.1", "--port", "0", *options],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SHUTDOWN_TIMEOUT", "soon"),
        ("MAX_UPLOAD_MB", "0"),
        ("PRELOAD_MODELS", '["a"'),
        ("AUTH_FAILURE_STATUS", "402"),
        ("WHISPER__INFERENCE_DEVICE", "tpu"),
        ("STT_MODEL_TTL", "-2"),
        ("LOG_LEVEL", "loud"),
        ("CHAT_COMPLETION_BASE_URL", "localhost:11434/v1"),
    ],
)
def test_a_bad_setting_is_one_line_that_names_it(variable: str, value: str):
    done = start(env={variable: value})
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert variable in done.stderr
    assert done.stdout == ""


def test_a_model_that_cannot_be_is_one_line_and_no_server():
    done = start("--model", "/nowhere/whisper")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "WHISPER__MODEL names /nowhere/whisper, which is no folder" in done.stderr


def test_a_model_as_an_option_leaves_the_other_settings_of_whisper_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WHISPER__COMPUTE_TYPE", "int8")
    monkeypatch.setenv("WHISPER__MODEL", "acme/one")
    settings, _ = read_settings({"whisper": {"model": "acme/other"}})
    assert settings
    assert (settings.whisper.model, settings.whisper.compute_type) == ("acme/other", "int8")


def test_a_bad_log_level_as_an_option_is_one_line_that_names_it():
    done = start("--log-level", "loud")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "LOG_LEVEL" in done.stderr


@pytest.mark.parametrize("level", ["INFO", "DEBUG", "warn", "Warning", "critical", " error "])
def test_a_log_level_may_be_written_in_any_case(level: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LOG_LEVEL", level)
    settings, fault = read_settings({})
    assert settings is not None
    assert not fault
    assert log_config(settings.log_level)["loggers"]["uvicorn"]["level"] in logging.getLevelNamesMapping()
    assert read_settings({"log_level": level})[0] == settings


@pytest.mark.parametrize("level", ["INFO", "Debug"])  # those that log the address which the test waits for
def test_the_server_starts_with_a_log_level_as_others_write_it(level: str):
    server = ServerProcess({"LOG_LEVEL": level})
    try:
        assert httpx.get(server.url + "/health").json()["message"] == "OK"
    finally:
        server.stop()


def test_a_bad_aliases_file_is_one_line_that_names_it(tmp_path: Path):
    aliases = tmp_path / "aliases.json"
    aliases.write_text('{"a": "b", "b": "a"}')
    done = start(env={"MODEL_ALIASES_FILE": str(aliases)})
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "aliases.json" in done.stderr


def test_a_taken_port_is_one_line_that_says_what_to_do():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = start("--port", str(taken.getsockname()[1]))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "--port" in done.stderr


def test_an_option_wins_over_the_environment():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = ServerProcess({"UVICORN_PORT": str(taken.getsockname()[1]), "UVICORN_HOST": "192.0.2.1"})
    try:
        assert httpx.get(server.url + "/health").status_code == 200
    finally:
        server.stop()


def test_what_is_said_stays_out_of_the_log():
    server = ServerProcess({"LOG_LEVEL": "debug"})
    try:
        answer = httpx.post(
            server.url + "/v1/audio/transcriptions",
            files={"file": (CLIPS / "english.opus").read_bytes()},
            data={"model": WHISPER, "prompt": "a secret prompt"},
            headers={"Authorization": "Bearer sk-secret", "X-Request-ID": "request-7"},
            timeout=60,
        )
        assert "fox" in answer.text
        assert answer.headers["x-request-id"] == "request-7"
    finally:
        server.stop()
    log = "".join(server.lines)
    assert "request-7" in log
    assert not any(word in log for word in ("fox", "secret prompt", "sk-secret"))


def test_sigterm_lets_requests_in_flight_end():
    server = ServerProcess()
    answers: list[httpx.Response] = []
    with httpx.Client(base_url=server.url, timeout=60) as client:
        client.post("/api/ps/silero_vad_v5")

        def ask() -> None:
            answers.append(client.post("/v1/audio/speech/timestamps", files={"file": silence(900)}))

        asking = threading.Thread(target=ask)
        asking.start()
        while httpx.get(server.url + "/health").json()["in_flight"] == 0:
            assert asking.is_alive(), "the request was over before it could be seen"
        server.process.send_signal(signal.SIGTERM)
        asking.join(60)
    server.process.wait(30)
    server.stop()
    assert [answer.status_code for answer in answers] == [200]


def test_sigterm_ends_an_idle_server_at_once():
    server = ServerProcess()
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(10) in (0, -signal.SIGTERM)
    server.stop()
