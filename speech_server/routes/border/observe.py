"""Gives every request an id, counts it, and logs one line about it: never what was said in it."""

from __future__ import annotations

import logging
import re
import time
import uuid
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from outgoing import tracing
from speech_server.engines.queue.standing import caller
from speech_server.routes.metrics import Metrics

log = logging.getLogger("speech_server.requests")

# Asked every few seconds by a platform: not worth a line, nor work in flight.
POLLED = frozenset({"/health", "/ping", "/metrics"})
PROGRESS = "/api/progress/"  # asked beside every long request: no trace of its own
LONGEST_ID = 128
NO_ROUTE = "unknown"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "WS"})  # others do not get a counter


def request_id_of(scope: Scope) -> str:
    """The client's own, cut to length; one of ours where it has a blank, which could forge a part of a log line."""
    given = Headers(scope=scope).get("x-request-id", "")[:LONGEST_ID]
    return given if re.fullmatch(r"[!-~]+", given) else uuid.uuid4().hex


def caller_of(scope: Scope, request_id: str) -> str:
    """An address. What comes from this very machine may be the requests of many, handed on: each is its own."""
    address = scope["client"][0] if scope.get("client") else ""
    return request_id if address in ("", "127.0.0.1", "::1") else str(address)


def route_of(scope: Scope) -> str:
    """The route's pattern, so that ids in paths do not make the counters grow."""
    return getattr(scope.get("route"), "path", NO_ROUTE)


def describe(span: tracing.Span, scope: Scope, status: int, route: str, request_id: str) -> None:
    """By OpenTelemetry's names; without the query, where keys may be."""
    if span is tracing.SILENT:
        return
    method = scope.get("method", "GET")
    method = method if method in METHODS else "_OTHER"
    span.rename(method if route == NO_ROUTE else f"{method} {route}")
    span.note(
        {
            "http.request.method": method,
            "http.response.status_code": status,
            "http.response.header.x-request-id": [request_id],
            "network.protocol.name": scope["type"],
            "url.path": quote(scope["path"])[: tracing.LONGEST_PATH],
            "url.scheme": scope["scheme"],
        }
    )
    if route != NO_ROUTE:
        span.note({"http.route": route})
    if status >= 500:
        span.fail(str(status))


class Observe:
    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or scope["path"] in POLLED:
            await self.app(scope, receive, send)
            return
        request_id = request_id_of(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        caller.set(caller_of(scope, request_id))
        if scope["path"].startswith(PROGRESS):
            await self.observed(scope, receive, send, request_id, tracing.SILENT)
            return
        with tracing.span("request", kind="server", carrier=Headers(scope=scope)) as span:
            await self.observed(scope, receive, send, request_id, span)

    async def observed(self, scope: Scope, receive: Receive, send: Send, request_id: str, span: tracing.Span) -> None:
        status, received, sent, started = 101 if scope["type"] == "websocket" else 499, 0, 0, time.perf_counter()

        async def counting_receive() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            return message

        async def counting_send(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = request_id
            sent += len(message.get("body", b""))
            await send(message)

        self.metrics.in_flight += 1
        try:
            await self.app(scope, counting_receive, counting_send)
        except Exception:
            status = 500  # a bug: its reply is made outside of this, and never by us where one had begun
            raise
        finally:
            self.metrics.in_flight -= 1
            seconds = time.perf_counter() - started
            method, route = scope.get("method", "WS"), route_of(scope)
            self.metrics.requests.labels(method if method in METHODS else "OTHER", route, status).inc()
            self.metrics.seconds.labels(route).observe(seconds)
            describe(span, scope, status, route, request_id)
            log.info(
                "%s %s %s in %.3f s, %d B in, %d B out, request %s",
                method, quote(scope["path"]), status, seconds, received, sent, request_id,
            )  # fmt: skip
