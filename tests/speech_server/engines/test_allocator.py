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


def test_what_was_kept_can_be_given_back():
    program = """
import psutil
from speech_server.engines.allocator import give_back, keep_memory
assert keep_memory()
blocks = [b"x" * (1 << 20) for _ in range(200)]
last = b"x" * (1 << 10)  # above them in the heap: only the holes below it are given back
full = psutil.Process().memory_info().rss
del blocks
kept = psutil.Process().memory_info().rss
give_back()
print(full, kept, psutil.Process().memory_info().rss)
"""
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    full, kept, left = map(int, output.split())
    assert full - kept < 20 << 20
    assert full - left > 150 << 20
