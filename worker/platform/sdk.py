"""Where runpod 1.12's job loop loses jobs or time, this corrects it: taking jobs, stopping, delivering results.

What the SDK does by itself, and what is done here instead:
- It parses its answer to a poll as one document: whatever is wrong with one job, all are lost. Here the answer is read
  as bytes (take.py), and a job that cannot be read fails by its id.
- It looks for taken jobs every 0.1 s, and waits 1 s whenever all its places are full: here a job starts when it comes,
  and the next is asked for when a place is free.
- SIGTERM waits up to 90 s for the outstanding poll, and a job that comes with it is never run: here the poll ends at
  once, and what it brought is run.
- A final result is offered 3 times within 1 s, and then dropped without a word: here it is offered until it is taken,
  or a time limit; a result that is refused is replaced by an error that says so (deliver.py).
- It asks again without a pause while the platform cannot be reached, or has an answer with nothing in it.

It replaces two names of the SDK (JobScaler and _transmit), only in the version it was written for: with another one
handler.py uses the SDK as it is.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextvars import ContextVar
from functools import partial
from typing import Any

import aiohttp
import runpod
from runpod.serverless.modules import rp_http, rp_job, rp_logger, rp_scale

from worker import log
from worker.answer.reply import encode_error
from worker.platform.deliver import current_job, deliver, in_passing
from worker.platform.jobs_json import Job, RefusedJob
from worker.platform.take import Taker
from worker.prctl import die_with_parent
from worker.settings import Settings

_KNOWN_VERSION = "1.12."
_LAST_WORDS_SECONDS = 5.0  # for the errors of jobs that were ended by the shutdown

_session: ContextVar[aiohttp.ClientSession | None] = ContextVar("session", default=None)


def correct(
    settings: Settings, *, end_jobs: Callable[[], None], close: Callable[[], Awaitable[None]], gave_up: Future[str]
) -> bool:
    """Puts the corrections in place for this process; False when this SDK is another one, which then works as it is.

    `end_jobs` makes the handlers that still run return at once, `close` ends what they shared, `gave_up` is done when
    there will be no server.
    """
    # Importing the SDK turns on INFO for every library, and httpx then logs each URL with its secrets.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    if not runpod.__version__.startswith(_KNOWN_VERSION):
        log.warn(f"runpod {runpod.__version__} is not {_KNOWN_VERSION}x: its job loop is used as it is")
        return False

    class Loop(JobLoop):
        def __init__(self, config: dict[str, Any]) -> None:
            super().__init__(config, settings, end_jobs, close, gave_up)

    async def transmit(client_session: aiohttp.ClientSession, url: str, job_data: str) -> None:
        await deliver(client_session, url, job_data, settings.delivery_timeout)

    # The SDK's ping process, a fork of this one, would report a killed worker as alive for ever.
    os.register_at_fork(after_in_child=die_with_parent)
    rp_scale.JobScaler = Loop
    rp_http._transmit = transmit
    return True


def on_platform() -> bool:
    """Whether the job at hand came from a platform that takes pieces and progress."""
    return _session.get() is not None


async def send_piece(job: dict[str, Any], piece: Any) -> None:
    """Shows up on /stream. Does nothing where there is no platform."""
    if session := _session.get():
        await rp_http.stream_result(session, {"output": piece}, job)


async def send_progress(job: dict[str, Any], output: dict[str, Any]) -> None:
    """Shows up on /status while the job runs. Does nothing where there is no platform."""
    if session := _session.get():
        token = in_passing.set(True)
        try:
            await rp_http.send_result(session, {"status": "IN_PROGRESS", "output": output}, job)
        finally:
            in_passing.reset(token)


# --- taking, running, stopping ---


class JobLoop(rp_scale.JobScaler):  # type: ignore[misc]  # runpod has no types
    def __init__(
        self,
        config: dict[str, Any],
        settings: Settings,
        end_jobs: Callable[[], None],
        close: Callable[[], Awaitable[None]],
        gave_up: Future[str],
    ) -> None:
        super().__init__(config)
        self._shutdown_timeout = settings.shutdown_timeout
        self._end_jobs = end_jobs
        self._close = close
        self._gave_up = gave_up
        self.current_concurrency = self.concurrency_modifier(1)
        self.jobs_queue: asyncio.Queue[Job | None] = asyncio.Queue(maxsize=self.current_concurrency)
        self._taker = Taker(int(settings.max_take_mb * 1e6), settings.take_timeout, self._unless_shutdown)
        self._places = asyncio.Semaphore(self.current_concurrency)
        self._place_free = asyncio.Event()
        self.jobs_fetcher, self.stop_signals_fetcher = self._fetch_jobs, self._fetch_stops
        self.jobs_fetcher_timeout = self.stop_signals_fetcher_timeout = None  # they have limits of their own

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            # The SDK's handler sets an event from outside the loop, which sleeps on.
            loop.add_signal_handler(number, self.kill_worker)
        watchers = [asyncio.create_task(self._end_with_server()), asyncio.create_task(self._bound_shutdown())]
        try:
            await super().run()
        finally:
            for watcher in watchers:
                watcher.cancel()
            await asyncio.wait(watchers)
            self._taker.close()
            await self._close()

    # --- taking ---

    async def _fetch_jobs(self, session: aiohttp.ClientSession, count: int) -> list[Job]:
        jobs = await self._taker.take(session, count)
        for job in jobs:
            # All at once, before the first one waits for its place: what a ping does not list counts as lost.
            self.job_progress.add(job["id"])
        return jobs

    async def _fetch_stops(self, session: aiohttp.ClientSession) -> list[str]:
        def is_new(job_id: str) -> bool:
            task = self.jobs_tasks.get(job_id)
            return task is not None and not task.cancelling()

        return await self._taker.stop_signals(session, is_new)

    def current_occupancy(self) -> int:
        count: int = self.job_progress.get_job_count()  # jobs that were taken, those in the queue included
        return count

    async def set_scale(self) -> None:
        """Called by get_jobs before each poll: waits here for a place, so that its own 1 s sleep is never reached."""
        while self.is_alive() and self.current_occupancy() >= self.current_concurrency:
            self._place_free.clear()
            await self._unless_shutdown(self._place_free.wait())

    async def get_jobs(self, session: aiohttp.ClientSession) -> None:
        try:
            await super().get_jobs(session)
        finally:
            self.jobs_queue.put_nowait(None)

    # --- running ---

    async def run_jobs(self, session: aiohttp.ClientSession) -> None:
        running: set[asyncio.Task[None]] = set()
        while (job := await self.jobs_queue.get()) is not None:
            task = asyncio.create_task(self.handle_job(session, job))
            self.jobs_tasks[job["id"]] = task
            running.add(task)
            task.add_done_callback(running.discard)
            task.add_done_callback(partial(self._forget, job))
            task.add_done_callback(partial(_log_end, job))
        await asyncio.gather(*running, return_exceptions=True)

    async def handle_job(self, session: aiohttp.ClientSession, job: Job) -> None:
        # Not the SDK's own: at its end that forgets a job by its id, also while another run of the same id goes on.
        _session.set(session)
        current_job.set(job["id"])
        rp_logger._set_batch_id(job.get("batchId"))
        async with self._places:  # the platform may send more jobs than it was asked for
            if isinstance(job, RefusedJob):
                log.warn(f"FAILED: {job.error.code}: {job.error.message}", job["id"])
                await rp_http.send_result(session, {"error": encode_error(job.error, job["id"])}, job)
            else:
                await rp_job.handle_job(session, self.config, job)

    def _forget(self, job: Job, task: asyncio.Task[None]) -> None:
        if self.jobs_tasks.get(job["id"]) is task:
            del self.jobs_tasks[job["id"]]
        if job["id"] not in self.jobs_tasks:
            self.job_progress.remove(job["id"])
        self._place_free.set()

    # --- stopping ---

    async def _unless_shutdown(self, awaitable: Awaitable[Any]) -> Any:
        """Its result, if it comes before the shutdown; it is preferred when both come at once."""
        wanted = asyncio.ensure_future(awaitable)
        shutdown = asyncio.ensure_future(self._shutdown_event.wait())
        try:
            await asyncio.wait((wanted, shutdown), return_when=asyncio.FIRST_COMPLETED)
            return wanted.result() if wanted.done() else None
        finally:
            wanted.cancel()
            shutdown.cancel()
            await asyncio.wait((wanted, shutdown))

    async def _end_with_server(self) -> None:
        await asyncio.shield(asyncio.wrap_future(self._gave_up))
        self.kill_worker()

    async def _bound_shutdown(self) -> None:
        await self._shutdown_event.wait()
        log.info(f"stopping: {len(self.jobs_tasks)} jobs get {self._shutdown_timeout:g} s to finish")
        await asyncio.sleep(self._shutdown_timeout)
        self._end_jobs()
        await asyncio.sleep(_LAST_WORDS_SECONDS)
        for task in list(self.jobs_tasks.values()):
            task.cancel()


def _log_end(job: Job, task: asyncio.Task[None]) -> None:
    if task.cancelled():
        log.info("stopped", job["id"])
    elif error := task.exception():
        log.error(f"the SDK failed: {type(error).__name__}", job["id"])
