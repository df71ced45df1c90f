"""Takes jobs and stop signals from the platform, at the SDK's addresses, whatever it answers there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import aiohttp
from runpod.serverless.modules import rp_job

from worker import log
from worker.plain import parse_json
from worker.platform.jobs_json import Job, read_jobs
from worker.platform.poll import Poll, RawAnswer, UnlessShutdown

LARGEST_JOB = 20_000_000  # bytes; what the platform takes from a caller at most
_LARGE = 1 << 20  # bytes; what is read on the event loop
_MAX_STOPS = 1 << 20  # bytes


class Taker:
    """One for the job loop."""

    def __init__(self, max_bytes: int, body_seconds: float, unless_shutdown: UnlessShutdown) -> None:
        self._max_bytes = max_bytes
        self._jobs = Poll("jobs", max_bytes, body_seconds, unless_shutdown)
        self._stops = Poll("stop signals", _MAX_STOPS, body_seconds, unless_shutdown)
        self._reader = ThreadPoolExecutor(1, "read-jobs")
        self._reader.submit(bool)  # its thread, while one can be had: later all jobs of an answer would be lost for it

    async def take(self, session: aiohttp.ClientSession, count: int) -> list[Job]:
        """Up to `count` jobs, and what else the platform sent; refused ones among them. Never raises."""
        # No more than its answer has room for.
        count = max(1, min(count, self._max_bytes // LARGEST_JOB))
        answer = await self._jobs.ask(session, rp_job._job_get_url(count))
        jobs = await self._read(answer)
        await self._jobs.rest(empty=not jobs)
        return jobs

    async def stop_signals(self, session: aiohttp.ClientSession, is_new: Callable[[str], bool]) -> list[str]:
        """Ids of jobs to stop. Never raises."""
        # The SDK's own address for it, which no public name gives.
        if not (url := rp_job._job_stop_url()):
            return []
        answer = await self._stops.ask(session, url)
        try:
            said = parse_json(answer.body) if answer.body else {}
        except ValueError as error:
            log.warn(f"{len(answer.body)} bytes of stop signals from the platform are lost: it {error}")
            said = {}
        named = said.get("jobsToStop") if isinstance(said, dict) else None
        ids = [one for one in named if isinstance(one, str) and is_new(one)] if isinstance(named, list) else []
        await self._stops.rest(empty=not ids)
        return ids

    def close(self) -> None:
        self._reader.shutdown(wait=False)

    async def _read(self, answer: RawAnswer) -> list[Job]:
        if answer.cut:
            log.warn(f"the platform's answer with jobs was cut after {len(answer.body)} bytes: {answer.cut}")
        unfinished: str | None = "did not come to its end from the platform; send the job again"
        if answer.too_large:
            unfinished = f"made the platform's answer larger than {self._max_bytes / 1e6:g} MB (WORKER_MAX_TAKE_MB)"
        elif answer.cut:
            unfinished = None
        read = partial(read_jobs, answer.body, unfinished)
        if len(answer.body) > _LARGE:
            reading = await asyncio.get_running_loop().run_in_executor(self._reader, read)
        else:
            reading = read()
        if reading.lost:
            count, size = len(reading.lost), len(answer.body)
            log.warn(f"{count} parts of {size} bytes from the platform became no job: {reading.lost[0]}")
        return list(reading.by_id.values())
