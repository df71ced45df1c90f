"""What runs beside the worker cannot read its environment. Real processes that try.

Full capabilities read everything (CAP_SYS_PTRACE, on newer kernels CAP_PERFMON too): where the tests run with them,
the processes here first give up what the root of a container does not have. So they say the same for root and for
any other user; and that the reading works without our part is shown beside it.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.worker.conftest import STAND_IN

CONTAINER_CAPABILITIES = {0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31}  # Docker's default; linux/capability.h
PR_CAPBSET_DROP = 24  # linux/prctl.h
CANARY = "canary-in-the-environment"
READ = f"""
import sys
try:
    found = open(f"/proc/{{sys.argv[1]}}/environ", "rb").read()
except PermissionError:
    print("refused")
else:
    print("read" if b"{CANARY}" in found else "something else")
"""
# A process with a key, a fork of it (like the SDK's ping process), and a program it starts, which reads.
FAMILY = f"""
import os, subprocess, sys
from worker.prctl import hide_from_siblings
if sys.argv[1] == "hidden":
    hide_from_siblings()
reading, writing = os.pipe()
fork = os.fork()
if fork == 0:
    os.close(writing)
    os.read(reading, 1)
    os._exit(0)
for pid in (os.getpid(), fork):
    subprocess.run([sys.executable, "-c", {READ!r}, str(pid)], check=True)
os.close(writing)
os.waitpid(fork, 0)
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")


def become_a_container() -> None:
    libc = ctypes.CDLL(None)
    for capability in set(range(64)) - CONTAINER_CAPABILITIES:
        libc.prctl(PR_CAPBSET_DROP, capability)  # refused to users who have none anyway


def run(*command: str) -> str:
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={**os.environ, "RUNPOD_AI_API_KEY": CANARY, "SPEECH_SERVER_COMMAND": STAND_IN},
        preexec_fn=become_a_container,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout


@pytest.mark.parametrize(("how", "outcome"), [("open", "read"), ("hidden", "refused")])
def test_a_program_that_is_started_reads_nothing_of_who_hides(how: str, outcome: str):
    assert run("-c", FAMILY, how).split() == [outcome, outcome]


def test_the_speech_server_reads_nothing_of_the_worker(tmp_path: Path):
    saved = tmp_path / "said.json"
    said = run("handler.py", "--test_input", json.dumps({"input": {"path": "/spy"}}), "--output", str(saved))
    assert "COMPLETED" in said
    assert json.loads(saved.read_text()) == {"environ": "Permission denied", "mem": "Permission denied", "status": 1}
