"""python -m tests.soak [--jobs 1000] [--kills 10] [--seed 1] [--chaos [KIND ...]]: the whole soak, with a summary."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.soak.run import CHAOS, soak


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--chaos", nargs="*", choices=CHAOS, help="these kinds of trouble as well; alone: all of them")
    parser.add_argument("--log", type=Path, help="a file for what the platform and its workers said")
    options = parser.parse_args()
    chaos = CHAOS if options.chaos == [] else options.chaos or ()
    with tempfile.TemporaryDirectory() as temporary:
        outcome = soak(options.jobs, options.kills, options.seed, Path(temporary), chaos)
    if options.log:
        options.log.write_text(outcome.log)
    for ending, count in sorted(outcome.counts.items()):
        print(f"{count:6} {ending}")
    print(f"{outcome.counts.total()} jobs in {outcome.seconds:.0f} s; the server was killed {outcome.kills} times")
    print(f"trouble: {outcome.trouble}")
    for kind, count in outcome.chaos.items():
        print(f"{count:6} {kind}")
    for kind, why in outcome.skipped.items():
        print(f"no {kind} here: {why}")
    print(f"the worker's memory in MB over time: {', '.join(f'{mb:.0f}' for mb in outcome.megabytes)}")
    for line in outcome.wrong:
        print(f"WRONG: {line}")
    return 1 if outcome.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
