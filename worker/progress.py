"""Tells the platform how far a long job is, in order, and never after the job's end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import httpx

_ASK_SECONDS = 5.0
_GIVE_UP_AFTER = 3  # answers of 404: a server that knows nothing of progress, or of this request


@asynccontextmanager
async def reported_progress(
    client: httpx.AsyncClient,
    base_url: str,
    request_id: str,
    interval: float,
    send: Callable[[dict[str, Any]], Awaitable[None]] | None,
) -> AsyncIterator[None]:
    """Asks the server every `interval` seconds and sends what changed. Leaving waits for a report on its way.

    A report that arrives after the result leaves a job IN_PROGRESS for ever on the platform.
    """
    if send is None or interval <= 0:
        yield
        return
    sending = asyncio.Lock()
    url = f"{base_url}/api/progress/{quote(request_id, safe='')}"
    reporter = asyncio.create_task(_report(client, url, interval, send, sending))
    try:
        yield
    finally:
        async with sending:
            reporter.cancel()
        await asyncio.wait([reporter])


async def _report(
    client: httpx.AsyncClient,
    url: str,
    interval: float,
    send: Callable[[dict[str, Any]], Awaitable[None]],
    sending: asyncio.Lock,
) -> None:
    last: Any = None
    unknown = 0
    while unknown < _GIVE_UP_AFTER:
        await asyncio.sleep(interval)
        try:
            response = await client.get(url, timeout=_ASK_SECONDS)
            progress = response.json() if response.status_code == 200 else None
        except (httpx.HTTPError, ValueError):
            progress = None
        unknown = 0 if progress else unknown + 1
        if isinstance(progress, dict) and progress != last:
            last = progress
            async with sending:
                await send(progress)
