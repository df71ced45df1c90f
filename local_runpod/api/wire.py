"""HTTP details all routes share: bodies with a limit, JSON answers, keys, waiting only while the caller is there."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Coroutine
from typing import Any, TypeVar

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from local_runpod.errors import Refused, TooLarge, Unauthorized

T = TypeVar("T")


def answer(value: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json")


async def refuse(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return answer({"error": error.message}, error.status)


async def caller_gone(_: Request, __: Exception) -> Response:
    return Response(status_code=499)  # nobody reads it


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body. One over the limit is read to its end, so that the client gets to see the refusal."""
    kept = bytearray()
    size = 0
    async for block in request.stream():
        size += len(block)
        if size <= limit:
            kept += block
        else:
            kept.clear()
    if size > limit:
        raise TooLarge(f"the body has {size} bytes, the limit is {limit}")
    return bytes(kept)


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Awaits `work`, gives up (ClientDisconnect) when the caller hangs up. The body must have been read."""
    working = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_hang_up(request))
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        for task in (working, gone):
            task.cancel()
        await asyncio.gather(working, gone, return_exceptions=True)


async def _hang_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def require_key(request: Request, api_key: str) -> None:
    """Clients send `Authorization: Bearer KEY`; Runpod takes the bare key as well. No key set: anybody may."""
    given = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
    if api_key and not hmac.compare_digest(given.encode(), api_key.encode()):
        raise Unauthorized("the API key is missing or wrong: send Authorization: Bearer KEY")
