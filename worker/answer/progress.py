"""Tells the platform how far a long job is, in order, and never after the job's end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import httpx

from worker.errors import BadReply
from worker.plain import make_plain, parse_json
from worker.server.supervisor import Server

_ASK_SECONDS = 5.0
_GIVE_UP_AFTER = 3  # questions about one request without an answer that says how far it is
_LONGEST_ANSWER = 64_000  # bytes
_NO_ROUTE = frozenset((401, 403, 404, 405, 501))
_NO_SUCH_REQUEST = "not_found"  # the code of a 404 by the route itself, where other servers say that they have none

Send = Callable[[dict[str, Any]], Awaitable[None]]


@asynccontextmanager
async def reported_progress(
    client: httpx.AsyncClient, server: Server, headers: Mapping[str, str], interval: float, send: Send | None
) -> AsyncIterator[None]:
    """Asks the server every `interval` seconds about the request that has these headers, and sends what changed.

    Leaving waits for a report on its way: one that arrives after the result leaves a job IN_PROGRESS for ever on the
    platform.
    """
    if send is None or interval <= 0 or server.has_no_progress.is_set():
        yield
        return
    sending = asyncio.Lock()
    reporter = asyncio.create_task(_report(client, server, headers, interval, send, sending))
    try:
        yield
    finally:
        async with sending:
            reporter.cancel()
        await asyncio.wait([reporter])


async def _report(
    client: httpx.AsyncClient,
    server: Server,
    headers: Mapping[str, str],
    interval: float,
    send: Send,
    sending: asyncio.Lock,
) -> None:
    last: Any = None
    unknown = 0
    while unknown < _GIVE_UP_AFTER and not server.has_no_progress.is_set():
        await asyncio.sleep(interval)
        progress = await _ask(client, server, headers)
        unknown = 0 if progress else unknown + 1
        if progress and progress != last:
            last = progress
            async with sending:
                await send(progress)


async def _ask(client: httpx.AsyncClient, server: Server, headers: Mapping[str, str]) -> dict[str, Any] | None:
    """How far the request is; None where the server does not say. One that knows no such route is not asked again."""
    url = f"{server.url}/api/progress/{quote(headers['x-request-id'], safe='')}"
    key = {"authorization": headers["authorization"]} if "authorization" in headers else {}
    try:
        async with asyncio.timeout(_ASK_SECONDS), client.stream("GET", url, headers=key) as response:
            raw = b""
            async for block in response.aiter_bytes():
                raw += block
                if len(raw) > _LONGEST_ANSWER:
                    return None
        said, _ = make_plain(parse_json(raw))
    except (httpx.HTTPError, TimeoutError):
        return None
    except (ValueError, BadReply):
        said = None
    if response.status_code in _NO_ROUTE and _code(said) != _NO_SUCH_REQUEST:
        server.has_no_progress.set()
    return said if response.status_code == 200 and isinstance(said, dict) else None


def _code(said: Any) -> Any:
    error = said.get("error") if isinstance(said, dict) else None
    return error.get("code") if isinstance(error, dict) else None
