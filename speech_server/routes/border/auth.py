"""Lets only clients with the API key in, when there is one: Bearer, X-API-Key, or ?api_key= on a WebSocket."""

from __future__ import annotations

from secrets import compare_digest
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from speech_server.errors import Forbidden
from speech_server.routes.border.envelope import error_reply

# What a load balancer asks and what a browser opens first.
PUBLIC = frozenset({"/", "/health", "/ping", "/docs", "/redoc", "/openapi.json", "/favicon.ico"})
PUBLIC_FILES = ("/static-offline-docs/", "/page/")  # what /docs, /redoc and the page are made of


def presented_keys(scope: Scope) -> list[bytes]:
    headers = Headers(scope=scope)
    scheme, _, token = headers.get("authorization", "").partition(" ")
    keys = [token.strip()] if scheme.lower() == "bearer" else []
    keys += headers.getlist("x-api-key")
    in_address: list[bytes] = []
    if scope["type"] == "websocket":  # a browser cannot set headers on a WebSocket
        query = parse_qs(scope["query_string"].decode("latin-1"))
        in_address = [key.encode() for key in query.get("api_key", [])]
        offered = headers.get("sec-websocket-protocol", "").split(",")  # nor OpenAI's own browser client
        keys += [name.strip().removeprefix("openai-insecure-api-key.") for name in offered if "api-key." in name]
    # Header bytes were read as Latin-1; this gives back what was sent.
    return [key.encode("latin-1") for key in keys] + in_address


class Auth:
    def __init__(self, app: ASGIApp, key: str, status: int) -> None:
        self.app = app
        self.key = key.encode()
        self.status = status

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        is_public = path in PUBLIC or path.startswith(PUBLIC_FILES)
        if scope["type"] not in ("http", "websocket") or is_public or self.admits(scope):
            await self.app(scope, receive, send)
            return
        refusal = Forbidden("Missing or wrong API key: send it as `Authorization: Bearer KEY` or `X-API-Key: KEY`")
        refusal.status = self.status
        await error_reply(refusal)(scope, receive, send)

    def admits(self, scope: Scope) -> bool:
        return any(compare_digest(key, self.key) for key in presented_keys(scope))
