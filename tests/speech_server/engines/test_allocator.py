"""Freed memory stays with the process, so that taking it again costs no page faults."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import os, resource, sys
from speech_server.engines.allocator import keep_memory, use_one_blas_thread
use_one_blas_thread()
if sys.argv[1] == "kept":
    assert keep_memory()
for _ in range(5):
    b"x" * (80 << 20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt, os.environ["OPENBLAS_NUM_THREADS"])
"""


def test_a_large_block_taken_again_costs_no_page_faults():
    faults = {}
    for mode in ("kept", "plain"):
        output = subprocess.run([sys.executable, "-c", PROGRAM, mode], capture_output=True, text=True, check=True)
        count, threads = output.stdout.split()
        assert threads == "1"
        faults[mode] = int(count)
    assert faults["plain"] - faults["kept"] > 3 * (80 << 20) / 4096
