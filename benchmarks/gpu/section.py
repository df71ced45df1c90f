"""python -m benchmarks.gpu.section NAME FOLDER [--tiny]: one section, which tells its rows as lines of JSON.

Models are kept in FOLDER, from one section to the next.
"""

from __future__ import annotations

import argparse
import importlib
import os
from pathlib import Path

from benchmarks.gpu.bench import Bench, Told
from benchmarks.gpu.cards import find_card
from benchmarks.gpu.driver import find_driver, has_cuda

SECTIONS = {
    "steps": "A: encoding by window and batch, a decoding step by batch, beam and timestamps, the start",
    "memory": "B: memory against the formula, out of memory, the whole transcriber at 1, 4, 32, 64 requests",
    "speech": "C: Kokoro's graph, lengths alternating and grouped, threads and sessions",
    "front_end": "D: decoding, voice detection and features, before an engine that answers at once",
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=SECTIONS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tiny", action="store_true")
    args = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    from speech_server.engines.allocator import keep_memory, use_one_blas_thread

    use_one_blas_thread()
    keep_memory()
    driver = find_driver()
    card = find_card(driver.name()) if driver else None
    bench = Bench(Told(args.name), args.folder, args.tiny, has_cuda(), driver, card)
    importlib.import_module(f"benchmarks.gpu.{args.name}").run(bench)


if __name__ == "__main__":
    main()
