"""Offers results to the platform until they are taken, refused for good, or out of time.

runpod 1.12 offers a final result 3 times within 1 s, and then drops it without a word.
"""

from __future__ import annotations

import asyncio
import json
from contextvars import ContextVar

import aiohttp
from runpod.serverless.modules import rp_http

from worker import log
from worker.answer.reply import encode_error
from worker.errors import ResultRefused

_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 2.0  # seconds between attempts; the first after every refusal
_ATTEMPT_SECONDS = 60.0
_REFUSALS = 3  # answers of 4xx before a result counts as refused
_PASSING_SECONDS = 15.0  # a piece or a progress report must not hold up its job for longer

current_job: ContextVar[str] = ContextVar("current_job", default="")
in_passing: ContextVar[bool] = ContextVar("in_passing", default=False)


async def deliver(session: aiohttp.ClientSession, url: str, data: str, limit: float) -> None:
    """Offers one result, piece or progress report until it is taken, refused for good, or out of time."""
    is_final = _begins(url, rp_http.JOB_DONE_URL) and not in_passing.get()
    job_id = current_job.get()
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
            log.debug(f"delivery failed: {type(error).__name__}", current_job.get())
            refusals = 1
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def _begins(url: str, template: str) -> bool:
    return url.startswith(template.partition("$ID")[0])
