"""The options of `transcribe` for many and for long recordings, and what is shown meanwhile."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NoReturn

from tqdm import tqdm

from endpoint.bulk.cutting import Readers
from endpoint.bulk.join import ENDING
from endpoint.bulk.report import dry_run, report_of, table
from endpoint.bulk.run import READERS, RETRIES, WORKERS, Bulk, Outcome, Plan, Watcher, measure
from endpoint.bulk.send import ByJobs, ByServer, Sender
from endpoint.bulk.sources import find
from endpoint.bulk.workers import Workers
from endpoint.errors import REFUSED, BadArgument
from endpoint.platform.jobs import open_jobs
from endpoint.where import Where
from speech_server.domain import SECTION

SHORTEST, LONGEST = 60.0, 1800.0  # seconds of a piece: two zones and some speech; what a job can hold as Opus
SPEED = 70.0  # times real time: large-v3-turbo on one L4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("many recordings, and long ones")
    add = group.add_argument
    add("--out", type=Path, metavar="DIR", help="texts go here (beside each recording; of URLs: here)")
    add("--overwrite", action="store_true", help="replace texts that are there (they are kept)")
    add("--workers", type=int, default=WORKERS, metavar="N", help="keep work ready for so many (%(default)s)")
    add(
        "--piece",
        type=float,
        default=SECTION,
        metavar="S",
        help="cut into pieces of about so many seconds (%(default)g)",
    )
    add("--retries", type=int, default=RETRIES, metavar="N", help="of a piece that fails (%(default)s)")
    add("--webhook", metavar="URL", help="the platform posts the result of each job there too")
    add("--price", type=float, metavar="DOLLARS", help="of a worker per hour; for the cost")
    add(
        "--speed", type=float, default=SPEED, metavar="X",
        help="times real time of one worker, for the estimates of --dry-run (%(default)g: turbo on an L4)",
    )  # fmt: skip
    add("--dry-run", action="store_true", help="say what would be sent, and send nothing")
    add("--json", action="store_true", help="what became of each recording, as JSON")


def is_asked(args: argparse.Namespace) -> bool:
    """Whether it is more than one file whose text is printed. Raises BadArgument for options of the other way."""
    many = len(args.sources) > 1 or "://" in args.sources[0] or not _is_file(args.sources[0])
    if not (many or args.out or args.dry_run or args.json or args.webhook):
        return False
    for given, name in (
        (args.output, "--output"),
        (args.stream, "--stream"),
        (args.timestamps, "--timestamps"),
        ("-" in args.sources, "-"),
    ):
        if given:
            raise BadArgument(f"{name} is for one file alone: several go to --out, or beside each recording")
    return True


def _is_file(name: str) -> bool:
    # One that does not exist and is no pattern is told so by the plain command.
    return name == "-" or Path(name).is_file() or not (Path(name).is_dir() or any(c in name for c in "*?["))


async def run(args: argparse.Namespace, fields: dict[str, Any], where: Where, path: str) -> int:
    plan = _plan(args, fields)
    sources = await find(args.sources, args.out, ENDING[plan.shape])
    if not where.takes_jobs and (remote := [source.name for source in sources if source.url]):
        raise BadArgument(f"{remote[0]}: {where.url} fetches nothing itself; URLs go to a queue endpoint")
    readers = Readers(READERS)
    try:
        with tqdm(total=len(sources), desc="reading", unit=" files", disable=None, leave=False) as bar:
            outcomes = await measure(sources, readers, overwrite=plan.overwrite, seen=bar.update)
        if args.dry_run:
            return dry_run(outcomes, args)
        began = time.monotonic()
        async with _sender(where, path, args) as (sender, workers):
            with Shown(outcomes, workers) as shown:
                try:
                    await Bulk(sender, readers, plan, shown.watcher).run(outcomes)
                except asyncio.CancelledError:
                    kept = sum(outcome.pieces for outcome in outcomes)
                    shown.say(f"{kept} pieces were heard and are kept: the same command goes on from there")
                    raise
    finally:
        await readers.close()
    report = report_of(outcomes, workers, time.monotonic() - began, args.price)
    print(json.dumps(report, indent=2, ensure_ascii=False) if args.json else "\n".join(table(report)))
    return REFUSED if any(outcome.state == "failed" for outcome in outcomes) else 0


def fields_of(args: argparse.Namespace) -> dict[str, Any]:
    """The form fields that the command's options ask for, but for the format."""
    fields = {
        "model": args.model,
        "language": args.language,
        "prompt": args.prompt,
        "hotwords": args.hotwords,
        "temperature": args.temperature,
        "timestamp_granularities": ["word"] if args.words else None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _plan(args: argparse.Namespace, fields: dict[str, Any]) -> Plan:
    if not SHORTEST <= args.piece <= LONGEST:
        raise BadArgument(f"--piece is {args.piece:g}: it wants {SHORTEST:g} to {LONGEST:g} seconds")
    if args.workers < 1 or args.retries < 0:
        raise BadArgument("--workers wants 1 or more, --retries 0 or more")
    return Plan(fields, args.format, args.piece, args.workers, args.retries, args.overwrite)


@asynccontextmanager
async def _sender(where: Where, path: str, args: argparse.Namespace) -> AsyncIterator[tuple[Sender, Workers]]:
    workers = Workers()
    if not where.takes_jobs:
        yield ByServer(where, path, args.timeout), workers
        return
    async with open_jobs(where) as jobs:
        watching = asyncio.create_task(workers.watch(jobs))
        try:
            yield ByJobs(jobs, path, args.timeout, args.webhook), workers
        finally:
            watching.cancel()
            await asyncio.wait([watching])


class Shown:
    """A bar for all, and one for each long recording that is at work, on a terminal; elsewhere a line for each end."""

    def __init__(self, outcomes: Sequence[Outcome], workers: Workers) -> None:
        left = [outcome for outcome in outcomes if outcome.state == "waiting"]
        total = sum(outcome.seconds or 0.0 for outcome in left)
        shape = "{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
        self._all: tqdm[NoReturn] = tqdm(total=total, desc="heard", bar_format=shape, disable=None, leave=False)
        self._bars: dict[str, tqdm[NoReturn]] = {}
        self._workers = workers
        self._began = time.monotonic()
        self._new = 0.0
        self.watcher = Watcher(self._heard, self._ended, self._again)

    def __enter__(self) -> Shown:
        return self

    def __exit__(self, *_: object) -> None:
        for bar in (*self._bars.values(), self._all):
            bar.close()

    def _heard(self, outcome: Outcome, seconds: float, is_new: bool) -> None:
        self._all.update(seconds)
        self._new += seconds if is_new else 0.0
        if self._all.disable:
            return
        if outcome.seconds and outcome.heard < outcome.seconds:
            name = str(outcome.source.output)
            if name not in self._bars:
                self._bars[name] = tqdm(total=outcome.seconds, desc=outcome.source.name[-30:], leave=False, unit="s")
            self._bars[name].n = outcome.heard
            self._bars[name].refresh()
        rate = self._new / max(time.monotonic() - self._began, 0.1)
        postfix = f"{rate:.0f}x real time, {self.watcher.at_work} pieces out"
        self._all.set_postfix_str(postfix + (f", {self._workers.most} workers" if self._workers.most else ""))

    def _ended(self, outcome: Outcome) -> None:
        if bar := self._bars.pop(str(outcome.source.output), None):
            bar.close()
        if outcome.state == "failed":
            self.say(f"{outcome.source.name}: failed: {outcome.reason}")
        elif outcome.state == "done":
            self.say(f"{outcome.source.name}: {outcome.source.output}")

    def _again(self, outcome: Outcome, why: str) -> None:
        self.say(f"{outcome.source.name}: a piece is sent again: {why}")

    def say(self, line: str) -> None:
        self._all.write(line, file=sys.stderr)
