"""Posts a job that ended to its webhook: one attempt and up to two more, 10 s apart, until one is answered 200.

Chosen where the documentation is silent: every ending is told, CANCELLED too; the body is what /status shows.
"""

from __future__ import annotations

import asyncio

import httpx

from local_runpod.rules.jobs import Job
from local_runpod.settings import Settings
from outgoing.door import Door
from outgoing.errors import OutgoingError
from outgoing.http import async_transport


class Webhooks:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._running: set[asyncio.Task[None]] = set()

    def changed(self, job: Job) -> None:
        if job.ended and job.request.webhook:
            task = asyncio.ensure_future(self._deliver(job.request.webhook, job.view()))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def close(self) -> None:
        """Gives up what has not been delivered yet."""
        for task in list(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _deliver(self, url: str, view: dict[str, object]) -> None:
        way = async_transport(Door.of_operator(), httpx)
        async with httpx.AsyncClient(transport=way, timeout=self._settings.webhook_timeout) as client:
            for attempt in range(1 + self._settings.webhook_retries):
                if attempt:
                    await asyncio.sleep(self._settings.webhook_delay)
                try:
                    response = await client.post(url, json=view)
                except (httpx.HTTPError, OutgoingError):
                    continue
                if response.status_code == httpx.codes.OK:
                    return
