"""Where runpod 1.12's job loop loses jobs or time, this corrects it: taking jobs, stopping, delivering results.

What the SDK does by itself, and what is done here instead:
- It looks for taken jobs every 0.1 s, and waits 1 s whenever all its places are full: here a job starts when it comes,
  and the next is asked for when a place is free.
- SIGTERM waits up to 90 s for the outstanding poll, and a job that comes with it is never run: here the poll ends at
  once, and what it brought is run.
- A final result is offered 3 times within 1 s, and then dropped without a word: here it is offered until it is taken,
  or a time limit; a result that is refused is replaced by an error that says so.
- It asks again without a pause while the platform cannot be reached.

It replaces two names of the SDK (JobScaler and _transmit), only in the version it was written for: with another one
handler.py uses the SDK as it is.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextvars import ContextVar
from functools import partial
from typing import Any

import aiohttp
import runpod
from runpod.serverless.modules import rp_http, rp_job, rp_scale

from worker import log
from worker.errors import ResultRefused
from worker.reply import encode_error

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_KNOWN_VERSION = "1.12."
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 2.0  # seconds between attempts to deliver; the first after every refusal
_ATTEMPT_SECONDS = 60.0
_REFUSALS = 3  # answers of 4xx before a result counts as refused
_PASSING_SECONDS = 15.0  # a piece or a progress report must not hold up its job for longer
_UNREACHABLE_PAUSE = 1.0
_LAST_WORDS_SECONDS = 5.0  # for the errors of jobs that were ended by the shutdown

_session: ContextVar[aiohttp.ClientSession | None] = ContextVar("session", default=None)
_job_id: ContextVar[str] = ContextVar("job_id", default="")
_in_passing: ContextVar[bool] = ContextVar("in_passing", default=False)


def correct(
    *,
    shutdown_timeout: float,
    delivery_timeout: float,
    end_jobs: Callable[[], None],
    close: Callable[[], Awaitable[None]],
    gave_up: Future[str],
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
            super().__init__(config, shutdown_timeout, end_jobs, close, gave_up)

    async def transmit(client_session: aiohttp.ClientSession, url: str, job_data: str) -> None:
        await _deliver(client_session, url, job_data, delivery_timeout)

    if sys.platform == "linux":
        os.register_at_fork(after_in_child=_die_with_parent)
    rp_scale.JobScaler = Loop
    rp_http._transmit = transmit
    return True


def on_platform() -> bool:
    """Whether the job at hand came from a platform that takes pieces and progress."""
    return _session.get() is not None


def _die_with_parent() -> None:
    # The SDK's ping process, a fork of this one, would report a killed worker as alive for ever.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


async def send_piece(job: dict[str, Any], piece: Any) -> None:
    """Shows up on /stream. Does nothing where there is no platform."""
    if session := _session.get():
        await rp_http.stream_result(session, {"output": piece}, job)


async def send_progress(job: dict[str, Any], output: dict[str, Any]) -> None:
    """Shows up on /status while the job runs. Does nothing where there is no platform."""
    if session := _session.get():
        token = _in_passing.set(True)
        try:
            await rp_http.send_result(session, {"status": "IN_PROGRESS", "output": output}, job)
        finally:
            _in_passing.reset(token)


# --- taking, running, stopping ---


class JobLoop(rp_scale.JobScaler):  # type: ignore[misc]  # runpod has no types
    def __init__(
        self,
        config: dict[str, Any],
        shutdown_timeout: float,
        end_jobs: Callable[[], None],
        close: Callable[[], Awaitable[None]],
        gave_up: Future[str],
    ) -> None:
        super().__init__(config)
        self._shutdown_timeout = shutdown_timeout
        self._end_jobs = end_jobs
        self._close = close
        self._gave_up = gave_up
        self.current_concurrency = self.concurrency_modifier(1)
        self.jobs_queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue(maxsize=self.current_concurrency)
        self._place_free = asyncio.Event()
        self.jobs_fetcher = self._until_shutdown(rp_job.get_job)
        self.stop_signals_fetcher = self._until_shutdown(rp_job.get_stop_signals)

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
            await self._close()

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

    async def run_jobs(self, session: aiohttp.ClientSession) -> None:
        running: set[asyncio.Task[None]] = set()
        while (job := await self.jobs_queue.get()) is not None:
            task = asyncio.create_task(self.handle_job(session, job))
            self.jobs_tasks[job["id"]] = task
            running.add(task)
            task.add_done_callback(running.discard)
            task.add_done_callback(partial(self._forget, job))
        await asyncio.gather(*running, return_exceptions=True)

    async def handle_job(self, session: aiohttp.ClientSession, job: dict[str, Any]) -> None:
        _session.set(session)
        _job_id.set(str(job["id"]))
        await super().handle_job(session, job)

    def _forget(self, job: dict[str, Any], task: asyncio.Task[None]) -> None:
        # The SDK does this at the end of handle_job, which a job that is stopped before its first step never reaches.
        if self.jobs_tasks.get(job["id"]) is task:
            del self.jobs_tasks[job["id"]]
        if job["id"] not in self.jobs_tasks:
            self.job_progress.remove(job)
        self._place_free.set()

    def _until_shutdown(self, fetch: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def fetch_or_stop(session: aiohttp.ClientSession, *args: Any) -> Any:
            try:
                return await self._unless_shutdown(fetch(session, *args)) or []
            except aiohttp.ClientConnectionError:
                await self._unless_shutdown(asyncio.sleep(_UNREACHABLE_PAUSE))
                raise

        return fetch_or_stop

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


# --- delivering ---


async def _deliver(session: aiohttp.ClientSession, url: str, data: str, limit: float) -> None:
    """Offers one result, piece or progress report until it is taken, refused for good, or out of time."""
    is_final = _begins(url, rp_http.JOB_DONE_URL) and not _in_passing.get()
    job_id = _job_id.get()
    try:
        async with asyncio.timeout(limit if is_final else _PASSING_SECONDS):
            if not (refusal := await _offer(session, url, data)):
                return
            log.error(f"the platform refused {len(data)} characters: {refusal}", job_id)
            if is_final:
                error = ResultRefused(f"the platform refused the result ({len(data)} characters): {refusal}")
                await _offer(session, url, json.dumps({"error": encode_error(error, job_id)}), refusals=2)
    except TimeoutError:
        log.error("the platform could not be reached in time; given up", job_id)


async def _offer(session: aiohttp.ClientSession, url: str, data: str, refusals: int = _REFUSALS) -> str | None:
    """None once it is taken, else how it was refused so many times.

    A refusal after a lost answer most likely means that the platform has it: then one is enough, and the error that
    follows is refused too.
    """
    body = data.encode()
    headers = {"charset": "utf-8", "Content-Type": "application/x-www-form-urlencoded"}  # as the SDK sends them
    pause = _FIRST_PAUSE
    while True:
        try:
            timeout = aiohttp.ClientTimeout(total=_ATTEMPT_SECONDS)
            async with session.post(url, data=body, headers=headers, timeout=timeout) as response:
                said = (await response.content.read(500)).decode(errors="replace")
                if response.status < 400:
                    return None
                if response.status < 500 and response.status not in (408, 425, 429):
                    refusals -= 1
                    if refusals <= 0 or response.status == 413:
                        return f"{response.status} {said}"
                    pause = _FIRST_PAUSE
        except aiohttp.ClientConnectorError:
            pass  # nothing was sent
        except (aiohttp.ClientError, TimeoutError) as error:
            log.debug(f"delivery failed: {type(error).__name__}", _job_id.get())
            refusals = 1
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def _begins(url: str, template: str) -> bool:
    return url.startswith(template.partition("$ID")[0])
