"""Questions to the platform that it may hold for long: raw answers, bounded in size and time, never asked in a spin."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp.http import HttpProcessingError

from worker import log

FAILURES = (aiohttp.ClientError, HttpProcessingError, TimeoutError, OSError, ValueError)
_HELD_SECONDS = 90.0  # for the answer's beginning: as long as the SDK waits
_QUICK = 1.0  # an answer with nothing in it that came sooner was not held by the platform: then we wait
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0  # seconds, doubled each time
_BUSY_PAUSE = 5.0  # after 429, as in the SDK

# The awaitable's result, or None when the worker is told to stop before it comes.
UnlessShutdown = Callable[[Awaitable[Any]], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class RawAnswer:
    body: bytes = b""
    cut: str = ""  # why the body is not whole
    too_large: bool = False


class Poll:
    """One question that is asked again and again; `rest` after an answer that brought nothing."""

    def __init__(self, what: str, max_bytes: int, body_seconds: float, unless_shutdown: UnlessShutdown) -> None:
        self._what = what  # for log lines: "jobs"
        self._max_bytes = max_bytes
        self._body_seconds = body_seconds
        self._unless_shutdown = unless_shutdown
        self._asked = 0.0
        self._misses = 0
        self._is_busy = False

    async def ask(self, session: aiohttp.ClientSession, url: str) -> RawAnswer:
        """An empty answer when there is none. A shutdown ends the wait for it, never the reading."""
        self._asked, self._is_busy = time.monotonic(), False
        try:
            response = await self._unless_shutdown(_begin(session, url))
        except FAILURES as error:
            log.warn(f"asking the platform for {self._what} failed: {type(error).__name__}")
            return RawAnswer()
        if response is None:
            return RawAnswer()
        try:
            return await self._read(response)
        finally:
            response.close() if not response.content.at_eof() else response.release()

    async def _read(self, response: aiohttp.ClientResponse) -> RawAnswer:
        status = response.status
        # 204: there is none. 400: the SDK takes it as none too, and says that FlashBoot causes it.
        if status in (204, 400):
            return RawAnswer()
        if not 200 <= status < 300:
            self._is_busy = status == 429
            log.warn(f"the platform answered {status} when it was asked for {self._what}")
            return RawAnswer()
        body = bytearray()
        try:
            async with asyncio.timeout(self._body_seconds):
                async for block in response.content.iter_any():
                    body += block
                    if len(body) > self._max_bytes:
                        return RawAnswer(bytes(body[: self._max_bytes]), "it is larger than allowed", too_large=True)
        except TimeoutError:
            return RawAnswer(bytes(body), f"it took longer than {self._body_seconds:g} s")
        except FAILURES as error:
            # aiohttp raises before it hands out what had come until then.
            body += b"".join(response.content._buffer)
            return RawAnswer(bytes(body), type(error).__name__)
        return RawAnswer(bytes(body))

    async def rest(self, *, empty: bool) -> None:
        """Waits after an empty answer that came at once, longer each time."""
        if not empty or time.monotonic() - self._asked > _QUICK:
            self._misses = 0
            return
        pause = _BUSY_PAUSE if self._is_busy else min(_FIRST_PAUSE * 2.0 ** min(self._misses, 10), _LONGEST_PAUSE)
        self._misses += 1
        await self._unless_shutdown(asyncio.sleep(pause))


async def _begin(session: aiohttp.ClientSession, url: str) -> aiohttp.ClientResponse:
    async with asyncio.timeout(_HELD_SECONDS):
        return await session.get(url)
