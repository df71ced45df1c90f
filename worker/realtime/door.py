"""The port realtime clients come in by: open while a session is due, one client per token, once."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from itertools import islice
from typing import Any
from urllib.parse import parse_qs
from weakref import WeakKeyDictionary

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from worker.errors import RealtimeUnavailable
from worker.realtime.doorstep import Doorstep, open_doorstep
from worker.realtime.visit import CLOSE_SECONDS, LARGEST_MESSAGE, MOST_FRAMES, Visit
from worker.settings import Settings

_KEY = "openai-insecure-api-key."  # how a browser, which cannot set headers, sends a key
_PONG_SECONDS = 60.0  # a client that is read slowly answers pings late
# Strangers decide how often this library tells of them at INFO, which the SDK turns on for all.
_quiet = logging.getLogger("worker.realtime.door")
_quiet.setLevel(logging.WARNING)


class Door:
    def __init__(self) -> None:
        self._visits: set[Visit] = set()
        # Weak: a client may break off between its admission and the end of the handshake.
        self._guests: WeakKeyDictionary[ServerConnection, Visit] = WeakKeyDictionary()
        self._open: tuple[Doorstep, Server] | None = None
        self._turning = asyncio.Lock()

    @asynccontextmanager
    async def open_for(self, visit: Visit, settings: Settings) -> AsyncIterator[int]:
        """The port, open at least until the block is left. Raises RealtimeUnavailable."""
        self._visits.add(visit)
        try:
            async with self._turning:
                if self._open is None:
                    self._open = await self._listen(settings)
            yield settings.realtime_port
        finally:
            self._visits.discard(visit)
            await visit.hang_up("the job ended")
            async with self._turning:
                if not self._visits and self._open is not None:
                    (doorstep, server), self._open = self._open, None
                    server.close(code=1001, reason="the job ended")
                    doorstep.clear()  # or the job would end only when their time is up
                    await server.wait_closed()

    async def _listen(self, settings: Settings) -> tuple[Doorstep, Server]:
        host = settings.realtime_host or ("0.0.0.0" if settings.public_ip else "127.0.0.1")
        tls = _tls(settings)
        doorstep = None
        try:
            doorstep = open_doorstep(host, settings.realtime_port, settings.realtime_max_waiting)
            server = await serve(
                self._serve,
                sock=doorstep,
                process_request=self._admit,
                select_subprotocol=_choose_subprotocol,
                ssl=tls,
                compression=None,
                open_timeout=settings.realtime_handshake_timeout,  # of TLS and of HTTP, each
                max_size=LARGEST_MESSAGE,
                max_queue=MOST_FRAMES,
                ping_timeout=_PONG_SECONDS,
                close_timeout=CLOSE_SECONDS,
                server_header=None,
                logger=_quiet,
            )
        except OSError as error:
            if doorstep is not None:
                doorstep.close()
            raise RealtimeUnavailable(f"port {settings.realtime_port} cannot be opened: {error.strerror}") from None
        return doorstep, server

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
        if self._open is not None:
            self._open[0].let_in(connection.remote_address)
        return None

    async def _serve(self, connection: ServerConnection) -> None:
        await self._guests.pop(connection).serve(connection)


def _tokens(request: Request) -> Iterator[str]:
    """One for each way to send it: comparing is cheap, but a request can hold thousands."""
    yield from parse_qs(request.path.partition("?")[2]).get("token", [])[:1]
    for value in request.headers.get_all("Authorization")[:1]:
        scheme, _, token = value.partition(" ")
        if scheme.lower() == "bearer":
            yield token.strip()
    offered = ",".join(request.headers.get_all("Sec-WebSocket-Protocol")).split(",")
    keys = (name.strip().removeprefix(_KEY) for name in offered if name.strip().startswith(_KEY))
    yield from islice(keys, 1)


def _choose_subprotocol(connection: ServerConnection, offered: Any) -> Subprotocol | None:
    """Never the one with the token in it."""
    return Subprotocol("realtime") if "realtime" in offered else None


def _tls(settings: Settings) -> ssl.SSLContext | None:
    if not settings.realtime_certificate:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(settings.realtime_certificate, settings.realtime_private_key or None)
    except (OSError, ssl.SSLError) as error:
        raise RealtimeUnavailable(f"WORKER_REALTIME_CERTIFICATE cannot be used: {error}") from None
    return context
