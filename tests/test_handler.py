"""`python handler.py` as people run it: one job at home, its words on the screen, and an exit status that tells."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.conftest import ROOT
from tests.worker.conftest import STAND_IN


def run(*arguments: str, env: dict[str, str] | None = None, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "handler.py"), *arguments],
        env={**os.environ, "SPEECH_SERVER_COMMAND": STAND_IN, **(env or {})},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
    )


def job(**job_input: Any) -> str:
    return json.dumps({"input": job_input})


def test_a_job_is_completed_on_the_real_server():
    done = run("--test_input", job(path="/health"), env={"SPEECH_SERVER_COMMAND": ""})
    assert done.returncode == 0, done.stdout + done.stderr
    assert "'status': 'ok'" in done.stdout
    assert "COMPLETED" in done.stdout


def test_a_failed_job_is_one_line_and_status_1():
    done = run("--test_input", job(path="/nowhere"))
    assert done.returncode == 1
    error = next(line for line in done.stdout.splitlines() if line.startswith("ERROR") and "failed with error" in line)
    assert json.loads(error.partition("error: ")[2])["status"] == 404


def test_audio_does_not_flood_the_screen_and_can_be_saved(tmp_path: Path):
    speech = job(path="/give?type=audio/wav&size=50000", method="POST")
    done = run("--test_input", speech, "--output", str(tmp_path / "a.wav"))
    assert done.returncode == 0
    assert max(map(len, done.stdout.splitlines())) < 300
    assert (tmp_path / "a.wav").read_bytes() == (bytes(range(256)) * 200)[:50_000]


def test_the_job_may_stand_in_test_input_json(tmp_path: Path):
    (tmp_path / "test_input.json").write_text(job(path="/give?type=text/plain", method="POST", file_base64="aGk="))
    done = run(cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "'text': 'hi'" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "env", "words"),
    [
        (["--test_input", "{"], {}, "--test_input is not JSON"),
        (["--test_input", "[]"], {}, "must be an object like"),
        (["--test_input", "{}"], {}, "must be an object like"),
        ([], {}, "there is no test_input.json here"),
        (["--test_input", job(path="/")], {"WORKER_CONCURRENCY": "many"}, "WORKER_CONCURRENCY: 'many' is not"),
    ],
)
def test_what_cannot_be_run_is_one_line_and_status_2(
    arguments: list[str], env: dict[str, str], words: str, tmp_path: Path
):
    done = run(*arguments, env=env, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_help_teaches_the_arguments_and_the_settings():
    done = run("--help")
    assert done.returncode == 0
    for words in ("--test_input", "--output", "--rp_serve_api", "WORKER_CONCURRENCY [0]", "test_input.json"):
        assert words in done.stdout


def test_the_server_is_spawned_before_the_heavy_imports():
    code = (
        "import sys, handler\n"
        "heavy = {'runpod', 'asyncio', 'httpx', 'boto3', 'aiohttp', 'worker.platform.sdk'} & set(sys.modules)\n"
        "sys.exit(repr(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_sdks_local_api_answers_and_sigterm_ends_everything():
    port = free_port()
    worker = subprocess.Popen(
        [sys.executable, "-u", "handler.py", "--rp_serve_api", "--rp_api_port", str(port)],
        env={**os.environ, "SPEECH_SERVER_COMMAND": STAND_IN},
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        url = f"http://localhost:{port}/runsync"
        answer = post_when_up(url, {"input": {"path": "/give?type=audio/wav", "method": "POST", "file_base64": "QUI="}})
        assert answer["status"] == "COMPLETED"
        assert base64.b64decode(answer["output"]["audio_content"]) == b"AB"
        assert json.loads(post_when_up(url, {"input": {"path": "nowhere"}})["error"])["code"] == "invalid_job"
        family = psutil.Process(worker.pid).children(recursive=True)
        assert len(family) == 1
        worker.send_signal(signal.SIGTERM)
        worker.wait(20)
        assert not [process for process in family if process.is_running()]
    finally:
        worker.kill()
        worker.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def post_when_up(url: str, body: Any) -> dict[str, Any]:
    limit, pause = time.monotonic() + 30, threading.Event()
    while True:
        try:
            return dict(httpx.post(url, json=body, trust_env=False, timeout=30).json())
        except httpx.ConnectError:
            assert time.monotonic() < limit
            pause.wait(0.05)
