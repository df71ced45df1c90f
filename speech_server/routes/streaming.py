"""Work that stops when its client goes away, and replies that are sent while they are made."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any, TypeVar

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from speech_server.engines.queue.standing import STANDING
from speech_server.errors import SpeechError
from speech_server.routes.border.envelope import describe

Result = TypeVar("Result")


async def unless_gone(receive: Receive, work: Awaitable[Result]) -> Result:
    """The result of `work`, which is cancelled when the client disconnects. The request's body must have been read."""
    task = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(until_gone(receive))
    try:
        await asyncio.wait((task, watch), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            STANDING.hang_up()
            raise ClientDisconnect
        return task.result()
    finally:
        task.cancel()
        watch.cancel()
        await asyncio.gather(task, watch, return_exceptions=True)


async def until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def begin(
    request: Request,
    chunks: AsyncGenerator[bytes, None],
    media_type: str,
    *,
    length: Callable[[bytes], int | None] = lambda first: None,
) -> StreamedReply:
    """The reply, once its first chunk is there: what fails before that is still a plain error with its status.

    `length` tells the bytes of the whole from the first chunk, where that can be known.
    """
    try:
        beginning = await unless_gone(request.receive, anext(chunks, b""))
        return StreamedReply(beginning, chunks, media_type, length(beginning))
    except BaseException:
        await chunks.aclose()
        raise


class StreamedReply(Response):
    """Sends chunks as they come; the generator is closed in every outcome, and early when the client goes away."""

    def __init__(self, first: bytes, rest: AsyncGenerator[bytes, None], media_type: str, length: int | None) -> None:
        self.status_code = 200
        self.media_type = media_type
        self.background = None
        # Proxies that buffer (nginx) would hold the first words back.
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        self.init_headers(headers if length is None else {**headers, "content-length": str(length)})
        self._first = first
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await unless_gone(receive, self._send(send))
        finally:
            await self._rest.aclose()

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self._first, "more_body": True})
        async for chunk in self._rest:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def sse(event: Mapping[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(event) + b"\n\n"


async def sse_stream(
    events: AsyncGenerator[Mapping[str, Any], None], *, last: bytes = b""
) -> AsyncGenerator[bytes, None]:
    """Events as server-sent events, then `last`; a failure after the first one becomes an `error` event."""
    begun = False
    try:
        async for event in events:
            yield sse(event)
            begun = True
    except SpeechError as error:
        if not begun:
            raise
        yield sse({"type": "error", **describe(error)})
    finally:
        await events.aclose()
    if last:
        yield last
