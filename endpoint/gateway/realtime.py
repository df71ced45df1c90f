"""Realtime through a held job: the job is started, its door waited for, and the WebSocket bridged to it."""

from __future__ import annotations

import asyncio
import logging

from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from endpoint.errors import EndpointError
from endpoint.platform.jobs import Jobs

log = logging.getLogger("endpoint.gateway")

ADDRESS_SECONDS = 300.0  # a worker may have to start first
REFUSED, GONE_WRONG = 1008, 1011  # close codes (RFC 6455, 7.4.1)


async def hold(socket: WebSocket, jobs: Jobs) -> None:
    """A caller's whole session."""
    offered = [name.strip() for name in socket.headers.get("sec-websocket-protocol", "").split(",")]
    await socket.accept("realtime" if "realtime" in offered else None)
    try:
        async with (
            jobs.session("/v1/realtime", dict(socket.query_params), ADDRESS_SECONDS) as session,
            connect(session.url, additional_headers=session.headers, max_size=None) as inner,
        ):
            await bridge(socket, inner)
    except EndpointError as error:
        log.warning("a realtime session was refused: %s", error.message)
        await _close(socket, GONE_WRONG, error.message)
    except (OSError, TimeoutError, WebSocketException) as error:
        log.warning("a realtime session failed: %s", type(error).__name__)
        await _close(socket, GONE_WRONG, "the worker's session cannot be reached")
    else:
        await _close(socket, 1000, "")


async def bridge(outer: WebSocket, inner: ClientConnection) -> None:
    """Until either side closes."""

    async def inward() -> None:
        while True:
            message = await outer.receive()
            if message["type"] == "websocket.disconnect":
                return
            await inner.send(message.get("text") or message.get("bytes") or "")

    async def outward() -> None:
        async for message in inner:
            await (outer.send_text(message) if isinstance(message, str) else outer.send_bytes(message))

    ways = [asyncio.create_task(inward()), asyncio.create_task(outward())]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        for result in await asyncio.gather(*ways, return_exceptions=True):
            if isinstance(result, Exception) and not isinstance(result, ConnectionClosed | WebSocketDisconnect):
                log.warning("a realtime session broke: %s", type(result).__name__)


async def _close(socket: WebSocket, code: int, reason: str) -> None:
    try:
        await socket.close(code, reason[:120])
    except RuntimeError:
        return  # the caller was first
