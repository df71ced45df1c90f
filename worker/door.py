"""The port realtime clients come in by: open while a session is due, one client per token, once."""

from __future__ import annotations

import asyncio
import json
import secrets
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit
from weakref import WeakKeyDictionary

from websockets.asyncio.client import connect
from websockets.asyncio.connection import Connection
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from worker.errors import RealtimeUnavailable, ServerError, ServerUnavailable, WorkerError
from worker.meter import Meter
from worker.settings import Settings

_KEY = "openai-insecure-api-key."  # how a browser, which cannot set headers, sends a key
_LARGEST_MESSAGE = 32 * 1024 * 1024  # bytes; one append may carry 15 MiB of audio, as base64
_CONNECT_SECONDS = 10.0
_CLOSE_SECONDS = 2.0  # a client that does not say goodbye is cut off
_PONG_SECONDS = 60.0  # a client that is read slowly answers pings late


class Visit:
    """One session: the token that admits its client, and what comes of it. The client may come until `expires_at`."""

    def __init__(self, url: str, headers: dict[str, str], meter: Meter, settings: Settings) -> None:
        self.token = secrets.token_urlsafe(32)
        self.expires_at = time.time() + settings.realtime_connect_timeout
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
        fits = secrets.compare_digest(token.encode(), self.token.encode())
        return fits and not self.claimed and time.time() < self.expires_at

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
            return min((self.expires_at - time.time(), "nobody_came"), (deadline - now, "time_limit"))
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
            # RFC 6455: at most 123 bytes
            await client.close(1011, error.message.encode()[:120].decode(errors="ignore"))
        self._news.set()

    async def _bridge(self, client: ServerConnection) -> str:
        headers = dict(self._headers)
        if client.request is not None and (beta := client.request.headers.get("OpenAI-Beta")):
            headers.setdefault("openai-beta", beta)
        try:
            server = await connect(
                self._url,
                additional_headers=headers,
                compression=None,
                max_size=None,
                open_timeout=_CONNECT_SECONDS,
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
                done, _ = await asyncio.wait([inward, outward], return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in (inward, outward):
                    pump.cancel()
                await asyncio.gather(inward, outward, return_exceptions=True)
            if inward in done:
                return "client_left"
            await client.close(server.close_code or 1000, server.close_reason or "")
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


class Door:
    def __init__(self) -> None:
        self._visits: set[Visit] = set()
        # Weak: a client may break off between its admission and the end of the handshake.
        self._guests: WeakKeyDictionary[ServerConnection, Visit] = WeakKeyDictionary()
        self._server: Server | None = None
        self._turning = asyncio.Lock()

    @asynccontextmanager
    async def open_for(self, visit: Visit, settings: Settings) -> AsyncIterator[int]:
        """The port, open at least until the block is left. Raises RealtimeUnavailable."""
        self._visits.add(visit)
        try:
            async with self._turning:
                if self._server is None:
                    self._server = await self._listen(settings)
            yield settings.realtime_port
        finally:
            self._visits.discard(visit)
            await visit.hang_up("the job ended")
            async with self._turning:
                if not self._visits and self._server is not None:
                    server, self._server = self._server, None
                    server.close(code=1001, reason="the job ended")
                    await server.wait_closed()

    async def _listen(self, settings: Settings) -> Server:
        try:
            return await serve(
                self._serve,
                settings.realtime_host or ("0.0.0.0" if settings.public_ip else "127.0.0.1"),
                settings.realtime_port,
                process_request=self._admit,
                select_subprotocol=_choose_subprotocol,
                ssl=_tls(settings),
                compression=None,
                max_size=_LARGEST_MESSAGE,
                ping_timeout=_PONG_SECONDS,
                close_timeout=_CLOSE_SECONDS,
                server_header=None,
            )
        except OSError as error:
            raise RealtimeUnavailable(f"port {settings.realtime_port} cannot be opened: {error.strerror}") from None

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        tokens = list(_tokens(request))
        # Every visit is asked, whatever the first ones answer: no time tells how many there are.
        fitting = [visit for visit in self._visits for token in tokens if visit.admits(token)]
        if not fitting:
            text = "The token is missing, wrong, used or expired: start a new job for a new one"
            error = {"message": text, "type": "authentication_error", "param": None, "code": "invalid_token"}
            response = connection.respond(HTTPStatus.FORBIDDEN, json.dumps({"error": error, "detail": text}))
            del response.headers["Content-Type"]
            response.headers["Content-Type"] = "application/json"
            return response
        fitting[0].claim()
        self._guests[connection] = fitting[0]
        return None

    async def _serve(self, connection: ServerConnection) -> None:
        await self._guests.pop(connection).serve(connection)


def _tokens(request: Request) -> Iterator[str]:
    yield from parse_qs(urlsplit(request.path).query).get("token", [])
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        yield token.strip()
    for name in ",".join(request.headers.get_all("Sec-WebSocket-Protocol")).split(","):
        if name.strip().startswith(_KEY):
            yield name.strip().removeprefix(_KEY)


def _choose_subprotocol(connection: ServerConnection, offered: Any) -> Subprotocol | None:
    """Never the one with the token in it."""
    return Subprotocol("realtime") if "realtime" in offered else None


def _refused(refusal: InvalidStatus) -> ServerError:
    status = refusal.response.status_code
    try:
        error = json.loads(refusal.response.body or b"")["error"]
        return ServerError(str(error["message"]), status=status, type=str(error["type"]), code=str(error["code"]))
    except (ValueError, KeyError, TypeError):
        message = f"the server refused the realtime session with status {status}"
        return ServerError(message, status=status, type="server_error", code="realtime_refused")


def _tls(settings: Settings) -> ssl.SSLContext | None:
    if not settings.realtime_certificate:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(settings.realtime_certificate, settings.realtime_private_key or None)
    except (OSError, ssl.SSLError) as error:
        raise RealtimeUnavailable(f"WORKER_REALTIME_CERTIFICATE cannot be used: {error}") from None
    return context
