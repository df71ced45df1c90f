"""One call to Runpod's HTTP APIs: sent, judged, and its answer an object."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import httpx

from endpoint.errors import PlatformRefused, Unreachable
from outgoing.door import Door
from outgoing.errors import OutgoingError
from outgoing.http import async_transport
from outgoing.lookups import LookUp, system_look_up

Client = httpx.AsyncClient

REQUEST_SECONDS = 30.0  # most calls answer at once


def open_client(
    headers: dict[str, str] | None = None, look_up: LookUp = system_look_up, **options: Any
) -> httpx.AsyncClient:
    """For URLs that whoever types the command named."""
    return httpx.AsyncClient(headers=headers, transport=async_transport(Door.of_operator(look_up), httpx), **options)


@dataclass(frozen=True, slots=True)
class Content:
    """A body of JSON that is made while it is sent, as often as it is sent."""

    size: int
    blocks: Callable[[], AsyncIterator[bytes]]


async def ask(
    http: httpx.AsyncClient,
    method: str,
    url: str,
    body: Any = None,
    *,
    headers: dict[str, str] | None = None,
    seconds: float = REQUEST_SECONDS,
) -> dict[str, Any]:
    """`body` is a value, or Content. Raises Unreachable, PlatformRefused."""
    headers = headers or {}
    sent: dict[str, Any] = {"json": body}
    if isinstance(body, Content):
        headers = {**headers, "content-type": "application/json", "content-length": str(body.size)}
        sent = {"content": body.blocks()}
    try:
        response = await http.request(method, url, **sent, headers=headers, timeout=seconds)
    except (httpx.HTTPError, OutgoingError) as error:
        raise Unreachable(f"{url} cannot be reached: {type(error).__name__} {error}") from error
    if response.status_code in (401, 403):
        raise PlatformRefused(
            f"{url} answered {response.status_code}: RUNPOD_API_KEY is missing or not allowed to do this",
            response.status_code,
        )
    if response.is_error:
        raise PlatformRefused(f"{url} answered {response.status_code}: {response.text[:500]}", response.status_code)
    try:
        answer = response.json()
    except ValueError as error:
        raise Unreachable(f"{url} answered no JSON: {response.text[:200]!r}") from error
    if not isinstance(answer, dict):
        raise Unreachable(f"{url} answered {type(answer).__name__}, not an object")
    return answer
