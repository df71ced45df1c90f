"""Refuses what is more than the server works on at a time, and never a question after its health."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from speech_server.errors import Overloaded
from speech_server.routes.border.envelope import error_reply
from speech_server.routes.border.observe import POLLED


class Crowd:
    """A WebSocket counts as long as it is open."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self.app = app
        self.most = most
        self.inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or scope["path"] in POLLED:
            await self.app(scope, receive, send)
            return
        if self.inside >= self.most:
            refusal = Overloaded(f"{self.most} requests are in work (MAX_CONCURRENT_REQUESTS): try again later")
            await error_reply(refusal)(scope, receive, send)
            return
        self.inside += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self.inside -= 1
