"""What `doctor` says of endpoints that are well, and of those that are not, each in front of the local platform."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from endpoint.doctor import _of_places
from tests.conftest import ROOT, WHISPER
from tests.local_runpod.local_platform import LocalPlatform


def doctor(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "endpoint", "doctor", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, env=os.environ)


def test_an_endpoint_that_is_well(queue_url: str):
    done = doctor(queue_url, "--api-key", "any", "--model", WHISPER, "--price", "0.684")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "times real time" in done.stdout
    assert "whisper runs on " in done.stdout
    assert "$ per hour of audio" in done.stdout
    assert "✗" not in done.stdout


def test_as_json(queue_url: str):
    done = doctor(queue_url, "--api-key", "any", "--model", WHISPER, "--json")
    report = json.loads(done.stdout)
    assert report["second"]["worker_seconds"] > 0
    assert report["times_real_time"] > 1
    assert "whisper" in [model["engine"] for model in report["loaded"]]
    assert not any(finding["is_wrong"] for finding in report["findings"])


ON_CPU = {"engine": "whisper", "device": "cpu", "compute_type": "int8", "providers": [], "workers": 2, "threads": 1}
ON_GPU = {
    "engine": "kokoro",
    "device": "cuda",
    "compute_type": None,
    "providers": ["CUDAExecutionProvider"],
    "workers": 2,
    "threads": 1,
    "gpus": [{"name": "NVIDIA L4", "free_bytes": 17_900_000_000, "total_bytes": 23_000_000_000}],
}


def test_where_models_run_is_said_and_a_gpu_that_idles_is_wrong():
    report: dict[str, Any] = {}
    first, second, wrong = _of_places({"gpu_required": True, "loaded": [ON_GPU, ON_CPU]}, report)
    assert first.what.startswith("kokoro runs on cuda (NVIDIA L4, 17.9 GB free), CUDAExecutionProvider: 2 at once")
    assert second.what == "whisper runs on cpu, int8: 2 at once, 1 threads each"
    assert (wrong.is_wrong, "WHISPER__INFERENCE_DEVICE" in wrong.advice) == (True, True)
    assert report["loaded"] == [ON_GPU, ON_CPU]
    assert not any(found.is_wrong for found in _of_places({"gpu_required": False, "loaded": [ON_CPU]}, report))
    assert list(_of_places({}, report)) == []  # another server


def test_a_model_that_is_not_there(queue_url: str):
    done = doctor(queue_url, "--api-key", "any", "--model", "someone/unknown")
    assert done.returncode == 1
    assert "someone/unknown" in done.stdout
    assert "PRELOAD_MODELS" in done.stdout


def test_a_wrong_key_no_endpoint_and_nobody_there():
    with LocalPlatform([sys.executable, "-c", ""], workers=0, api_key="right") as platform:
        wrong = doctor(platform.base, "--api-key", "wrong")
        assert (wrong.returncode, "RUNPOD_API_KEY" in wrong.stderr) == (2, True), wrong.stderr
        missing = doctor(platform.base + "x", "--api-key", "right")
        assert (missing.returncode, "no endpoint" in missing.stderr) == (2, True), missing.stderr
        waiting = doctor(platform.base, "--api-key", "right", "--timeout", "1")
        assert (waiting.returncode, "no worker took the job" in waiting.stderr) == (3, True), waiting.stderr
    gone = doctor(platform.base, "--api-key", "right")
    assert (gone.returncode, "cannot be reached" in gone.stderr) == (2, True), gone.stderr
