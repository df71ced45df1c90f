"""All jobs and workers of one endpoint, and every rule between them. Pure: the clock is passed in, nothing waits.

Where the documentation is silent, this was chosen:
- A worker that exits, or does not ping for `worker_silence`, is lost, and so is a job its worker's pings stopped
  listing (its result was refused, or never sent). A lost job is queued again, at the front, `lost_retries` times; then
  it is FAILED with Runpod's words "job timed out after 1 retries".
- ttl runs from submission, through queue and execution. A job over ttl or executionTimeout is TIMED_OUT, with a reason.
- Purged jobs become CANCELLED. Cancelling a job that has ended changes nothing and answers its state.
- lowPriority only steers scaling on the platform: here it is accepted and changes nothing.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from local_runpod.api.request import JobRequest
from local_runpod.errors import BadRequest, NotFound, TooLarge, Unauthorized
from local_runpod.rules.jobs import FINAL, Job, Status, new_id
from local_runpod.settings import Settings


@dataclass
class Worker:
    """What the platform knows of a worker: it pings, it holds jobs, it should stop some."""

    id: str
    pinged_at: float
    ready: bool = False  # asked for a job at least once
    leaving: bool = False  # gets no more jobs
    holds: set[str] = field(default_factory=set)
    stops: set[str] = field(default_factory=set)


class JobTable:
    def __init__(self, settings: Settings, clock: Callable[[], float], changed: Callable[[Job], None]) -> None:
        """`changed` is called after every change of a job that somebody may be waiting for."""
        self.settings = settings
        self.jobs: dict[str, Job] = {}
        self.workers: dict[str, Worker] = {}
        self.ended = dict.fromkeys(FINAL, 0)
        self.retried = 0
        self._queue: OrderedDict[str, Job] = OrderedDict()
        self._deadlines: list[tuple[float, str]] = []
        self._clock = clock
        self._changed = changed

    # What clients do.

    def submit(self, request: JobRequest, *, sync: bool) -> Job:
        now = self._clock()
        job = Job(new_id(sync=sync, region=self.settings.region), request, sync, created=now, queued_at=now)
        self.jobs[job.id] = job
        self._enqueue(job)
        return job

    def find(self, job_id: str) -> Job:
        job = self.jobs.get(job_id)
        if job is None:
            raise NotFound(f"no job {job_id}: the id is wrong, or its result is no longer kept")
        return job

    def cancel(self, job_id: str) -> Job:
        job = self.find(job_id)
        if not job.ended:
            self._tell_stop(job)
            self._end(job, Status.CANCELLED)
        return job

    def retry(self, job_id: str) -> Job:
        job = self.find(job_id)
        if job.status not in (Status.FAILED, Status.TIMED_OUT):
            raise BadRequest(f"job {job_id} is {job.status}: only FAILED and TIMED_OUT jobs can be retried")
        self.ended[job.status] -= 1
        self.retried += 1
        job.created = self._clock()  # ttl starts again
        job.accepted = job.lost = 0
        job.queue_again(job.created)
        self._enqueue(job)
        return job

    def purge(self) -> int:
        purged = list(self._queue.values())
        for job in purged:
            self._end(job, Status.CANCELLED)
        return len(purged)

    def health(self) -> dict[str, dict[str, int]]:
        running = sum(1 for worker in self.workers.values() if worker.holds)
        ready = sum(1 for worker in self.workers.values() if worker.ready)
        return {
            "jobs": {
                "completed": self.ended[Status.COMPLETED],
                "failed": self.ended[Status.FAILED] + self.ended[Status.TIMED_OUT],
                "inProgress": sum(len(worker.holds) for worker in self.workers.values()),
                "inQueue": len(self._queue),
                "retried": self.retried,
            },
            "workers": {
                "idle": ready - running,
                "initializing": len(self.workers) - ready,
                "ready": ready,
                "running": running,
                "throttled": 0,
                "unhealthy": 0,
            },
        }

    # What workers do.

    def hear(self, worker_id: str) -> Worker:
        """Who is calling. Workers started by hand become known by it, unless the endpoint has an API key."""
        worker = self.workers.get(worker_id)
        if worker is None:
            if self.settings.api_key:
                raise Unauthorized(f"no worker {worker_id}")
            worker = self.add_worker(worker_id)
        return worker

    def add_worker(self, worker_id: str) -> Worker:
        self.workers[worker_id] = Worker(worker_id, self._clock())
        return self.workers[worker_id]

    def has_queued(self) -> bool:
        return bool(self._queue)

    def take(self, worker_id: str, count: int) -> list[dict[str, Any]]:
        worker = self.hear(worker_id)
        worker.ready = True
        given: list[dict[str, Any]] = []
        while len(given) < count and self._queue:
            _, job = self._queue.popitem(last=False)
            given.append(job.take(worker_id, self._clock()))
            worker.holds.add(job.id)
            worker.stops.discard(job.id)  # meant for an earlier run of it
            self._touch(job)
        return given

    def finish(self, worker_id: str, job_id: str, result: Any, *, size: int, streamed: bool) -> Job:
        """A post to job-done: a result, or with status IN_PROGRESS a progress report."""
        self.hear(worker_id)
        job = self.find(job_id)
        job.require_holder(worker_id)
        limit = self.settings.runsync_limit if job.sync else self.settings.run_limit
        if size > limit:
            job.refused += 1
            raise TooLarge(f"the result has {size} bytes, the limit is {limit}")
        if not isinstance(result, dict):
            job.refused += 1
            raise BadRequest('a result is an object: {"output": ...}')
        if result.get("status") == Status.IN_PROGRESS:
            job.listed_at = self._clock()
            job.progress(result)
            self._changed(job)
        else:
            job.accept(result, self._clock(), streamed=streamed)
            self._release(job)
            self.ended[job.status] += 1
            self._touch(job)
        return job

    def add_chunk(self, worker_id: str, job_id: str, piece: Any, *, size: int) -> None:
        self.hear(worker_id)
        job = self.find(job_id)
        job.require_holder(worker_id)
        if size > self.settings.chunk_limit:
            raise TooLarge(f"the piece has {size} bytes, the limit is {self.settings.chunk_limit}")
        job.listed_at = self._clock()
        job.chunks.append(piece["output"] if isinstance(piece, dict) and "output" in piece else piece)
        self._changed(job)

    def ping(self, worker_id: str, listed: Iterable[str]) -> None:
        worker = self.hear(worker_id)
        worker.pinged_at = now = self._clock()
        listed = set(listed)
        for job in [self.jobs[job_id] for job_id in worker.holds]:
            if job.id in listed:
                job.listed_at = now
            elif now - job.listed_at > self.settings.lost_after:
                self._lose(job)
        # It still runs what was taken away from it: the stop signal came before the SDK had started the job.
        for job_id in listed - worker.holds:
            known = self.jobs.get(job_id)
            if known is None or known.status in (Status.CANCELLED, Status.TIMED_OUT):
                worker.stops.add(job_id)

    def drain_stops(self, worker_id: str) -> list[str]:
        worker = self.hear(worker_id)
        stops, worker.stops = sorted(worker.stops), set()
        return stops

    def remove_worker(self, worker_id: str) -> None:
        """The worker is gone: its jobs are lost."""
        worker = self.workers.pop(worker_id, None)
        for job_id in worker.holds.copy() if worker else ():
            self._lose(self.jobs[job_id])

    # What time does.

    def expire(self) -> list[str]:
        """Lets the clock's time take effect; the workers lost by it, which should be replaced."""
        now = self._clock()
        silent = [w.id for w in self.workers.values() if w.ready and now - w.pinged_at > self.settings.worker_silence]
        for worker_id in silent:
            self.remove_worker(worker_id)
        self._expire_jobs(now)
        return silent

    def _expire_jobs(self, now: float) -> None:
        while self._deadlines and self._deadlines[0][0] <= now:
            _, job_id = heapq.heappop(self._deadlines)
            job = self.jobs.get(job_id)
            if job is None:
                continue
            if self._due(job) > now:
                heapq.heappush(self._deadlines, (self._due(job), job_id))
            elif job.ended:
                del self.jobs[job_id]
            else:
                self._time_out(job, now)

    def _due(self, job: Job) -> float:
        """When the next thing happens to this job by itself."""
        if job.ended:
            return job.ended_at + (self.settings.runsync_retention if job.sync else self.settings.run_retention)
        expires = job.created + job.request.ttl
        if job.status is Status.IN_PROGRESS:
            return min(expires, job.taken_at + job.request.execution_timeout)
        return expires

    def _time_out(self, job: Job, now: float) -> None:
        expired = now >= job.created + job.request.ttl
        name, limit = ("ttl", job.request.ttl) if expired else ("executionTimeout", job.request.execution_timeout)
        self._tell_stop(job)
        self._end(job, Status.TIMED_OUT, f"job timed out: policy.{name} of {round(limit * 1000)} ms passed")

    def _lose(self, job: Job) -> None:
        self._release(job)
        job.lost += 1
        if job.lost > self.settings.lost_retries:
            self._end(job, Status.FAILED, f"job timed out after {self.settings.lost_retries} retries")
        else:
            self.retried += 1
            job.queue_again(self._clock())
            self._enqueue(job)
            self._queue.move_to_end(job.id, last=False)

    def _end(self, job: Job, status: Status, error: str | None = None) -> None:
        self._release(job)
        job.end(status, self._clock(), error)
        self.ended[status] += 1
        self._touch(job)

    def _tell_stop(self, job: Job) -> None:
        if (worker := self.workers.get(job.worker_id or "")) and job.id in worker.holds:
            worker.stops.add(job.id)

    def _enqueue(self, job: Job) -> None:
        self._queue[job.id] = job
        self._touch(job)

    def _release(self, job: Job) -> None:
        self._queue.pop(job.id, None)
        if worker := self.workers.get(job.worker_id or ""):
            worker.holds.discard(job.id)

    def _touch(self, job: Job) -> None:
        heapq.heappush(self._deadlines, (self._due(job), job.id))
        self._changed(job)
