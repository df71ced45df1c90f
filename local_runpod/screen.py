"""What a person sees: on a terminal a table of the latest jobs under the log, elsewhere lines."""

from __future__ import annotations

import shutil
import sys
import time
from collections import deque
from typing import TextIO

from local_runpod.rules.jobs import Job, Status
from local_runpod.rules.table import JobTable

ROWS = 12
COLOURS: dict[str, int] = {
    Status.COMPLETED: 32,
    Status.FAILED: 31,
    Status.TIMED_OUT: 31,
    Status.CANCELLED: 33,
    Status.IN_PROGRESS: 36,
}


class Screen:
    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stderr
        self._live = self._out.isatty()
        self._latest: deque[Job] = deque(maxlen=ROWS)
        self._drawn = 0  # rows of the table on the screen now
        self._text = ""

    def say(self, line: str) -> None:
        self._clear()
        print(line, file=self._out, flush=not self._live)

    def changed(self, job: Job) -> None:
        if job not in self._latest:
            self._latest.append(job)
        if not self._live and (job.ended or job.status is Status.IN_QUEUE):
            self.say(_describe(job))

    def draw(self, table: JobTable, now: float) -> None:
        """The table again, in place. Nothing when this is no terminal."""
        if not self._live:
            return
        health = table.health()
        counts = "  ".join(f"{name} {count}" for name, count in health["jobs"].items())
        rows = [f"workers {health['workers']['ready']}  {counts}", *(_row(job, now) for job in self._latest)]
        width = shutil.get_terminal_size().columns
        text = "".join(f"{_coloured(row[: width - 1])}\n" for row in rows)
        if self._drawn and text == self._text:
            return
        self._clear()
        self._out.write(text)
        self._out.flush()
        self._drawn, self._text = len(rows), text

    def _clear(self) -> None:
        if self._drawn:
            self._out.write(f"\x1b[{self._drawn}F\x1b[J")
            self._drawn = 0


def _row(job: Job, now: float) -> str:
    began = job.taken_at or job.queued_at
    seconds = (job.ended_at if job.ended else now) - began
    reason = str(job.answer.get("error", "")).replace("\n", " ")
    return f"{job.status:<11} {seconds:8.2f} s  {job.id}  {job.worker_id or ''}  {reason}"


def _coloured(row: str) -> str:
    status = row.split(" ", 1)[0]
    return f"\x1b[{COLOURS[status]}m{status}\x1b[0m{row[len(status) :]}" if status in COLOURS else row


def _describe(job: Job) -> str:
    clock = time.strftime("%H:%M:%S")
    seconds = f" after {job.ended_at - job.queued_at:.2f} s" if job.ended else ""
    reason = f": {str(job.answer['error'])[:300]}" if "error" in job.answer else ""
    return f"{clock} job {job.id} {job.status}{seconds}{reason}"
