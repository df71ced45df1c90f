"""The control plane of one endpoint: the table of jobs, those who wait for it, and what its changes set off."""

from __future__ import annotations

import time
from collections.abc import Callable

from local_runpod.api.trouble import Trouble
from local_runpod.rules.jobs import Job, Status
from local_runpod.rules.ratelimit import RATES, RateLimiter
from local_runpod.rules.table import JobTable
from local_runpod.settings import Settings
from local_runpod.signals import Signals

QUEUE, STOPS = "queue", "stops"  # what workers wait for; clients wait for a job's id


class Control:
    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self.settings = settings
        self.table = JobTable(settings, clock, self._changed)
        self.signals = Signals()
        self.rates = RateLimiter(clock, {} if settings.no_rate_limits else RATES)
        self.trouble = Trouble.of(settings)
        self.stopping = False
        self.listeners: list[Callable[[Job], None]] = []
        self.replace_worker: Callable[[str], None] = lambda _: None

    def stop(self) -> None:
        """No more jobs are given out, and whoever waits is answered now: a worker's SDK ends only after its poll."""
        self.stopping = True
        self.signals.wake_all()

    def dismiss(self, worker_id: str) -> None:
        """This worker gets no more jobs and is replaced."""
        self.table.hear(worker_id).leaving = True
        self.signals.wake(QUEUE)
        self.signals.wake(STOPS)
        self.replace_worker(worker_id)

    def _changed(self, job: Job) -> None:
        self.signals.wake(job.id)
        if job.status is Status.IN_QUEUE:
            self.signals.wake(QUEUE)
        if job.status is not Status.IN_PROGRESS:
            self.signals.wake(STOPS)
        for listener in self.listeners:
            listener(job)
