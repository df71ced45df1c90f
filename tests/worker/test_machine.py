"""What the platform says of a machine reaches a server that knows no platform, by hand of the worker or of start.sh."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from worker.machine import for_the_server, job_count
from worker.server.child import child_environment

CASES = [
    ({}, {}),
    ({"RUNPOD_GPU_COUNT": "0", "RUNPOD_CPU_COUNT": ""}, {}),
    ({"RUNPOD_GPU_COUNT": "1"}, {"REQUIRE_GPU": "true"}),
    ({"RUNPOD_GPU_COUNT": "2", "REQUIRE_GPU": "false"}, {"REQUIRE_GPU": "false"}),
    ({"RUNPOD_GPU_COUNT": "1", "REQUIRE_GPU": ""}, {"REQUIRE_GPU": "true"}),
    ({"RUNPOD_GPU_COUNT": "some"}, {}),
    ({"RUNPOD_CPU_COUNT": "16"}, {"CPU_COUNT": "16"}),
    ({"RUNPOD_CPU_COUNT": "16", "CPU_COUNT": "4"}, {"CPU_COUNT": "4"}),
]


@pytest.mark.parametrize(("platform", "told"), CASES)
def test_the_worker_tells_its_server(platform: dict[str, str], told: dict[str, str]):
    seen = child_environment(platform, [], "127.0.0.1", 1)
    assert {name: seen[name] for name in ("REQUIRE_GPU", "CPU_COUNT") if name in seen} == told


@pytest.mark.parametrize(("platform", "told"), CASES)
def test_start_sh_tells_a_server_without_a_worker_the_same(
    platform: dict[str, str], told: dict[str, str], tmp_path: Path
):
    python = tmp_path / "python"
    python.write_text("#!/bin/bash\nenv\n")
    python.chmod(0o755)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path), "WORKER_VOLUME": str(tmp_path / "none")}
    command = [ROOT / "start.sh"]
    done = subprocess.run(command, env=env | {"MODE_TO_RUN": "pod"} | platform, capture_output=True, text=True)
    seen = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    assert {name: seen[name] for name in ("REQUIRE_GPU", "CPU_COUNT") if seen.get(name)} == told


@pytest.mark.parametrize(("gpus", "jobs"), [("", 4), ("0", 4), ("1", 30), ("2", 30)])
def test_a_gpu_gets_enough_jobs_to_fill_its_batches(gpus: str, jobs: int):
    assert job_count({"RUNPOD_GPU_COUNT": gpus}) == jobs


def test_nothing_is_made_up():
    assert for_the_server({"PATH": "/bin"}) == {}


def test_a_worker_that_was_promised_a_gpu_and_has_none_ends_with_the_reason():
    """The whole way: the platform's count, the worker, the server, its reason, the job's error, the exit status."""
    import ctranslate2

    if ctranslate2.get_cuda_device_count():
        pytest.skip("there is one")
    done = subprocess.run(
        [sys.executable, "handler.py", "--test_input", '{"input": {"path": "/v1/models"}}'],
        env={**os.environ, "RUNPOD_GPU_COUNT": "1", "SPEECH_SERVER_COMMAND": ""},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert "a GPU is needed here, and cannot be used: NVIDIA's driver is not to be seen" in done.stdout
    assert "REQUIRE_GPU=false lets this server run on the CPU instead" in done.stdout
    assert "the speech server crashed 3 times in a row" in done.stdout
