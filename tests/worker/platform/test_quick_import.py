"""The SDK is imported without its CPU probe, and nothing else notices."""

from __future__ import annotations

import subprocess
import sys


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_the_sdk_knows_the_cpu_without_the_probe():
    said = run(
        "import sys; from worker.platform.quick_import import import_runpod; runpod = import_runpod();"
        "from runpod.serverless.utils import rp_debugger;"
        "print(runpod.__version__, rp_debugger.PROCESSOR, sorted(n for n in sys.modules if 'cpuinfo' in n))"
    )
    assert said.startswith("1.")
    assert said.rstrip().endswith("[]"), "the stand-in is gone and the probe was never imported"
    assert "Unable" not in said


def test_who_imports_cpuinfo_later_gets_the_real_one():
    said = run(
        "from worker.platform.quick_import import import_runpod; import_runpod(); "
        "import cpuinfo; print(cpuinfo.__file__)"
    )
    assert said.rstrip().endswith(".py")
