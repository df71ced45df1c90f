"""Bounds request bodies by what their routes need, and lets a refused client finish before its connection closes."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from speech_server.errors import Overloaded, RequestTooLarge, SpeechError
from speech_server.routes.border.envelope import error_reply
from speech_server.settings import Settings

CHAT = "/v1/chat/completions"
DRAIN_SECONDS = 10.0  # for the rest of a refused upload on a connection that closes after the reply


class Uploads:
    """`forms` are the paths that take files, which go to the disk; every other body is kept in memory."""

    def __init__(self, app: ASGIApp, settings: Settings, forms: frozenset[str]) -> None:
        self.app = app
        self.forms = forms
        self.form = Limit("MAX_UPLOAD_MB", settings.max_upload_mb)
        self.chat = Limit("MAX_CHAT_MB", settings.max_chat_mb, SharedMemory(settings.max_chats_mb))
        self.json = Limit("MAX_JSON_MB", settings.max_json_mb)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not has_body(scope):
            await self.app(scope, receive, send)
            return
        limit = self.limit_of(scope)
        body = Body(receive, limit)
        reply = body.draining(send) if closes(scope) else send
        declared = Headers(scope=scope).get("content-length", "0")
        try:
            if declared.isdecimal() and int(declared) > limit.bytes:
                await error_reply(limit.too_large())(scope, body.receive, reply)
            else:
                await self.app(scope, body.receive, reply)
        finally:
            body.forget()

    def limit_of(self, scope: Scope) -> Limit:
        if scope["path"] in self.forms:
            return self.form
        return self.chat if scope["path"] == CHAT else self.json


def has_body(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    return "content-length" in headers or "transfer-encoding" in headers


def closes(scope: Scope) -> bool:
    """Whether the connection closes after the reply. On one that stays, the rest of a body is read away."""
    return bool(scope["http_version"] == "1.0") or "close" in Headers(scope=scope).get("connection", "").lower()


class SharedMemory:
    """What all bodies together may take of it."""

    def __init__(self, megabytes: int) -> None:
        self.megabytes = megabytes
        self.taken = 0

    def take(self, size: int) -> None:
        if self.taken + size > self.megabytes * 1_000_000:
            raise Overloaded(f"The bodies of requests in work fill {self.megabytes} MB (MAX_CHATS_MB): try again later")
        self.taken += size


class Limit:
    def __init__(self, setting: str, megabytes: int, memory: SharedMemory | None = None) -> None:
        self.bytes = megabytes * 1_000_000
        self.memory = memory
        self._text = f"The request body is larger than {megabytes} MB ({setting})"

    def too_large(self) -> RequestTooLarge:
        return RequestTooLarge(self._text)


class Body:
    """One request's body as it comes in."""

    def __init__(self, receive: Receive, limit: Limit) -> None:
        self._receive = receive
        self._limit = limit
        self._size = 0
        self._held = 0
        self._complete = False

    async def receive(self) -> Message:
        message = await self._next()
        size = len(message.get("body", b""))
        self._size += size
        try:
            if self._size > self._limit.bytes:
                raise self._limit.too_large()
            if self._limit.memory is not None:
                self._limit.memory.take(size)
                self._held += size
        except SpeechError as error:
            # FastAPI turns every other kind raised while it reads a body into a 400.
            raise HTTPException(error.status, error.message) from error
        return message

    async def _next(self) -> Message:
        message = await self._receive()
        self._complete = message["type"] == "http.disconnect" or not message.get("more_body", False)
        return message

    def forget(self) -> None:
        if self._limit.memory is not None:
            self._limit.memory.taken -= self._held

    def draining(self, send: Send) -> Send:
        """Closing a socket with unread data resets it, and the client would see that instead of the reply."""

        async def send_then_drain(message: Message) -> None:
            last = message["type"] == "http.response.body" and not message.get("more_body", False)
            if not last or self._complete:
                await send(message)
                return
            await send({**message, "more_body": True})
            with suppress(TimeoutError):
                async with asyncio.timeout(DRAIN_SECONDS):
                    while not self._complete:
                        await self._next()
            await send({"type": "http.response.body", "body": b""})

        return send_then_drain
