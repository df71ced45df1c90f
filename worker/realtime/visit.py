"""One realtime session through a held job: who may come in, the bridge to the speech server, and how it ended."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from contextlib import suppress
from typing import Any

from websockets.asyncio.client import connect
from websockets.asyncio.connection import Connection
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.frames import EXTERNAL_CLOSE_CODES, CloseCode

from worker.errors import ServerError, ServerUnavailable, WorkerError
from worker.realtime.meter import Meter
from worker.settings import Settings

LARGEST_MESSAGE = 32 * 1024 * 1024  # bytes; one append may carry 15 MiB of audio, as base64
MOST_FRAMES = 4  # read ahead of who is to take them
CLOSE_SECONDS = 2.0  # a client that does not say goodbye is cut off
_CONNECT_SECONDS = 10.0


class Visit:
    """One session: the token that admits its client, and what comes of it.

    `expires_at` is for people; the token's time is measured by a clock that nobody sets.
    """

    def __init__(self, url: str, headers: dict[str, str], meter: Meter, settings: Settings) -> None:
        self.token = secrets.token_urlsafe(32)
        self.expires_at = time.time() + settings.realtime_connect_timeout
        self._expires = time.monotonic() + settings.realtime_connect_timeout
        self.claimed = False
        self._url = url
        self._headers = headers
        self._meter = meter
        self._idle_timeout = settings.realtime_idle_timeout
        self._last_message = time.monotonic()
        self._client: ServerConnection | None = None
        self._end: str | WorkerError | None = None
        self._news = asyncio.Event()  # somebody came, or it is over

    def admits(self, token: str) -> bool:
        """Compares in constant time, and lets nobody in twice or too late."""
        fits = secrets.compare_digest(token.encode(errors="replace"), self.token.encode())
        return fits and not self.claimed and time.monotonic() < self._expires

    def claim(self) -> None:
        self.claimed = True
        self._last_message = time.monotonic()
        self._news.set()

    async def until_over(self, limit: float) -> str:
        """Why the session ended. Raises ServerError, ServerUnavailable."""
        deadline = time.monotonic() + limit
        while True:
            wait, reason = self._next_check(deadline)
            if wait <= 0:
                await self.hang_up(reason)
                return reason
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._news.wait()
            self._news.clear()
            if isinstance(self._end, WorkerError):
                raise self._end
            if self._end is not None:
                return self._end

    def _next_check(self, deadline: float) -> tuple[float, str]:
        """Seconds until the session must end of itself, and why it would."""
        now = time.monotonic()
        if not self.claimed:
            return min((self._expires - now, "nobody_came"), (deadline - now, "time_limit"))
        return min((self._last_message + self._idle_timeout - now, "idle"), (deadline - now, "time_limit"))

    async def hang_up(self, reason: str) -> None:
        """The token admits nobody any more, and whoever came has to leave."""
        self.claimed = True
        self._end = self._end or reason
        if self._client is not None:
            await self._client.close(1001, reason)

    async def serve(self, client: ServerConnection) -> None:
        """Bridge the client to the server until either leaves."""
        self._client = client
        if self._end is not None:  # over while the client was still shaking hands
            return
        try:
            self._end = await self._bridge(client)
        except WorkerError as error:
            self._end = error
        finally:  # whatever else may be raised: the job must not wait for more
            self._end = self._end or ServerUnavailable("the realtime session broke off")
            self._news.set()
        if isinstance(self._end, WorkerError):
            # RFC 6455: at most 123 bytes
            await client.close(1011, self._end.message.encode()[:120].decode(errors="ignore"))

    async def _bridge(self, client: ServerConnection) -> str:
        headers = dict(self._headers)
        if client.request is not None and (beta := client.request.headers.get("OpenAI-Beta")):
            headers.setdefault("openai-beta", beta)
        try:
            server = await connect(
                self._url,
                additional_headers=headers,
                compression=None,
                max_size=LARGEST_MESSAGE,
                max_queue=MOST_FRAMES,
                open_timeout=_CONNECT_SECONDS,
                close_timeout=CLOSE_SECONDS,
                ping_interval=None,  # loopback: a dead server closes the connection
                proxy=None,
            )
        except InvalidStatus as refusal:
            raise _refused(refusal) from None
        except (OSError, InvalidHandshake, TimeoutError) as error:
            raise ServerUnavailable(f"no realtime session with the speech server: {type(error).__name__}") from None
        async with server:
            inward = asyncio.create_task(self._pump(client, server, self._meter.from_client))
            outward = asyncio.create_task(self._pump(server, client, self._meter.from_server))
            try:
                await asyncio.wait([inward, outward], return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in (inward, outward):
                    pump.cancel()
                await asyncio.gather(inward, outward, return_exceptions=True)
            if client.close_code is not None:
                return "client_left"
            if server.close_code is None or server.close_code == CloseCode.ABNORMAL_CLOSURE:
                raise ServerUnavailable("the speech server broke off the realtime session; try again")
            await client.close(_sendable(server.close_code), server.close_reason or "")
            return server.close_reason or "server_left"

    async def _pump(self, source: Connection, target: Connection, count: Any) -> None:
        """Message by message, each only once the one before was taken: a slow reader slows the writer."""
        try:
            async for message in source:
                self._last_message = time.monotonic()
                if isinstance(message, str):
                    count(message)
                await target.send(message)
        except ConnectionClosed:
            return


def _sendable(code: int) -> int:
    """The close code to pass on: some may be received, or stand for something, but never be sent."""
    if code == CloseCode.NO_STATUS_RCVD:
        return CloseCode.NORMAL_CLOSURE
    return code if code in EXTERNAL_CLOSE_CODES or 3000 <= code < 5000 else CloseCode.INTERNAL_ERROR


def _refused(refusal: InvalidStatus) -> ServerError:
    status = refusal.response.status_code
    try:
        error = json.loads(refusal.response.body or b"")["error"]
        return ServerError(str(error["message"]), status=status, type=str(error["type"]), code=str(error["code"]))
    except (ValueError, KeyError, TypeError):
        message = f"the server refused the realtime session with status {status}"
        return ServerError(message, status=status, type="server_error", code="realtime_refused")
