"""Bounds request bodies, and lets a refused client finish sending before its connection closes."""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from speech_server.errors import RequestTooLarge
from speech_server.routes.envelope import error_reply

DRAIN_SECONDS = 10.0  # for the rest of a refused upload on a connection that closes after the reply


class Uploads:
    def __init__(self, app: ASGIApp, max_upload_mb: int) -> None:
        self.app = app
        self.limit = max_upload_mb * 1_000_000
        self.message = f"The request body is larger than {max_upload_mb} MB (MAX_UPLOAD_MB)"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self.app(scope, receive, send)
            return
        body = Body(receive, self.limit, self.message)
        reply = body.draining(send) if closes(scope) else send
        declared = Headers(scope=scope).get("content-length", "0")
        if declared.isdecimal() and int(declared) > self.limit:
            await error_reply(RequestTooLarge(self.message))(scope, body.receive, reply)
        else:
            await self.app(scope, body.receive, reply)


def closes(scope: Scope) -> bool:
    """Whether the connection closes after the reply. On one that stays, uvicorn reads the rest of a body away."""
    return bool(scope["http_version"] == "1.0") or "close" in Headers(scope=scope).get("connection", "").lower()


class Body:
    """One request's body as it comes in."""

    def __init__(self, receive: Receive, limit: int, message: str) -> None:
        self._receive = receive
        self._left = limit
        self._message = message
        self._complete = False

    async def receive(self) -> Message:
        message = await self._receive()
        self._complete = message["type"] == "http.disconnect" or not message.get("more_body", False)
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            # FastAPI turns every other kind raised while it reads a body into a 400.
            raise HTTPException(413, self._message)
        return message

    def draining(self, send: Send) -> Send:
        """Closing a socket with unread data resets it, and the client would see that instead of the reply."""

        async def send_then_drain(message: Message) -> None:
            last = message["type"] == "http.response.body" and not message.get("more_body", False)
            if not last or self._complete:
                await send(message)
                return
            await send({**message, "more_body": True})
            try:
                async with asyncio.timeout(DRAIN_SECONDS):
                    while not self._complete:
                        rest = await self._receive()
                        self._complete = rest["type"] == "http.disconnect" or not rest.get("more_body", False)
            except TimeoutError:
                pass
            await send({"type": "http.response.body", "body": b""})

        return send_then_drain
