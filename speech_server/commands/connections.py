"""uvicorn's HTTP protocol with deadlines and a limit on connections, of which it has none of its own.

uvicorn 0.54 closes idle connections and can refuse requests over a number, in plain text and with /ping among them.
Nothing there ends a client that sends its headers or its body byte by byte, or that stops reading; headers may be of
any size; and a connection on which nothing was sent yet stays for ever.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar, TypeGuard

import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from speech_server.errors import HeadersTooLarge, InvalidRequest, Overloaded, RequestTimeout, SpeechError
from speech_server.routes.border.envelope import describe
from speech_server.settings import Settings

MOST_HEADERS = 100
LONGEST_HEADERS = 65_536  # bytes, the request line among them; also trailers, and what stands between chunks
SPARE = 16  # connections for those who ask /ping while all requests are taken


class BoundedProtocol(HttpToolsProtocol):
    """One connection. At most one timer runs for what the client has to send, and one for what it has to read."""

    limits: ClassVar[Settings]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._sending: asyncio.TimerHandle | None = None
        self._reading: asyncio.TimerHandle | None = None
        self._body_open = False  # the headers are here, the end of the body is not
        self._body_since = 0.0
        self._body = 0  # bytes of it
        self._around = 0  # bytes since the last one of a body
        self._fault: SpeechError | None = None  # found while uvicorn was parsing
        self.waiting_since = self.loop.time()

    # --- how many ---

    @property
    def waits(self) -> bool:
        """For a request: nothing is in work here."""
        return self.cycle is None or bool(self.cycle.response_complete)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait_for_headers()
        if len(self.connections) <= max(self.limits.max_connections, self.limits.max_concurrent_requests + SPARE):
            return
        longest = min(filter(idle, self.connections), key=lambda other: other.waiting_since)
        if longest is self:
            self._refuse(Overloaded("The server has too many connections (MAX_CONNECTIONS): try again later"))
        else:
            longest.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timers()
        super().connection_lost(exc)

    # --- what the client sends ---

    def data_received(self, data: bytes) -> None:
        if self._sending is None and self.waits:
            self._wait_for_headers()
        self._around += len(data)
        super().data_received(data)
        if self._around > LONGEST_HEADERS and self.transport.get_protocol() is self:
            self._refuse(too_large())

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._body_open:  # else a trailer, which nobody asks for
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > LONGEST_HEADERS or len(self.headers) > MOST_HEADERS:
            self._fault = too_large()
            raise self._fault  # the parser stops, and uvicorn asks for a 400
        self._body_open, self._body, self._body_since = True, 0, self.loop.time()
        self._wait_for_body(self.limits.body_timeout)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._body += len(body)
        self._around = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._body_open, self._around = False, 0
        self._stop_sending()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self.waiting_since = self.loop.time()
        super().on_response_complete()
        if self._body_open:  # the rest of it is read away, but not for ever
            self._wait_for_body(self.limits.header_timeout)

    def handle_websocket_upgrade(self) -> None:
        self._stop_timers()
        super().handle_websocket_upgrade()
        if not getattr(self.transport.get_protocol(), "handshake_initiated", True):
            self.transport.close()  # its own parser refuses what ours took, and says nothing

    def _wait_for_headers(self) -> None:
        self._stop_sending()
        self._sending = self.loop.call_later(self.limits.header_timeout, self._headers_are_late)

    def _headers_are_late(self) -> None:
        if not self.waits:  # the next request has begun to come while one is in work
            self._wait_for_headers()
        else:
            self._refuse(RequestTimeout("The request's headers did not come in time (HEADER_TIMEOUT)"))

    def _wait_for_body(self, seconds: float) -> None:
        self._stop_sending()
        self._sending = self.loop.call_later(seconds, self._body_is_due)

    def _body_is_due(self) -> None:
        allowed = self.limits.body_timeout + self._body / self.limits.body_min_rate
        if not self.cycle.response_complete:
            if self.flow.read_paused or self.cycle.waiting_for_100_continue:  # it is us who do not read
                self._body_since = self.loop.time()
            if (left := self._body_since + allowed - self.loop.time()) > 0:
                self._wait_for_body(left)
                return
        self._refuse(RequestTimeout("The request's body did not come in time (BODY_TIMEOUT, BODY_MIN_RATE)"))

    # --- what the client reads ---

    def pause_writing(self) -> None:
        super().pause_writing()
        self._reading = self.loop.call_later(self.limits.send_timeout, self.transport.abort)

    def resume_writing(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None
        super().resume_writing()

    # --- the end ---

    def _refuse(self, error: SpeechError) -> None:
        """The last word on this connection; nothing, where a reply has begun."""
        self._stop_timers()
        if self.transport.is_closing():
            return
        if self._awaits_a_word(error):
            self.transport.write(last_word(error))
        if not self.waits:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()

    def _awaits_a_word(self, error: SpeechError) -> bool:
        """Whether a reply can be written here without breaking another, and the client has said anything."""
        if self.pipeline:
            return False
        if self._body_open:
            return not self.cycle.response_started
        return self.waits and (self._around > 0 or isinstance(error, Overloaded))

    def send_400_response(self, msg: str) -> None:
        """For what is no HTTP."""
        self._refuse(self._fault or InvalidRequest(msg, code="http_400"))

    def _stop_sending(self) -> None:
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None

    def _stop_timers(self) -> None:
        self._stop_sending()
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None


def idle(connection: object) -> TypeGuard[BoundedProtocol]:
    return isinstance(connection, BoundedProtocol) and connection.waits and not connection.transport.is_closing()


def too_large() -> HeadersTooLarge:
    return HeadersTooLarge(f"There are more than {MOST_HEADERS} headers, or {LONGEST_HEADERS} bytes of them")


def last_word(error: SpeechError) -> bytes:
    body = orjson.dumps(describe(error))
    head = f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    return STATUS_LINE[error.status] + head.encode() + body


def bounded_protocol(settings: Settings) -> type[BoundedProtocol]:
    """The class for one server, with that server's limits."""
    return type("Protocol", (BoundedProtocol,), {"limits": settings})
