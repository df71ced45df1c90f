"""Lets only clients with the API key in, when there is one: Bearer, X-API-Key, or ?api_key= on a WebSocket.

What a browser got instead of the key, a client secret, opens a realtime session and nothing else.
"""

from __future__ import annotations

from secrets import compare_digest
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from speech_server.errors import Forbidden
from speech_server.routes.border.client_secrets import PREFIX, ClientSecrets
from speech_server.routes.border.envelope import error_reply

# What a load balancer asks and what a browser opens first.
PUBLIC = frozenset({"/", "/health", "/ping", "/docs", "/redoc", "/openapi.json", "/favicon.ico"})
PUBLIC_FILES = ("/static-offline-docs/", "/page/")  # what /docs, /redoc and the page are made of

REALTIME = ("/v1/realtime", "/v1/realtime/translations")
CALLS = ("/v1/realtime", "/v1/realtime/calls")  # the same over WebRTC


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


def presented_secret(scope: Scope, api_key: str | None) -> str | None:
    """A client secret sent as a key; an operator may have chosen a key that looks like one."""
    key = (api_key or "").encode()
    found = (
        sent for sent in presented_keys(scope) if sent.startswith(PREFIX.encode()) and not compare_digest(sent, key)
    )
    return next((sent.decode("latin-1") for sent in found), None)


class Auth:
    def __init__(self, app: ASGIApp, key: str, status: int, secrets: ClientSecrets) -> None:
        self.app = app
        self.secrets = secrets
        self.key = key.encode()
        self.status = status

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        try:
            if scope["type"] in ("http", "websocket") and path not in PUBLIC and not path.startswith(PUBLIC_FILES):
                self.check(scope)
        except Forbidden as refusal:
            await error_reply(refusal)(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def check(self, scope: Scope) -> None:
        """Raises Forbidden."""
        if any(compare_digest(key, self.key) for key in presented_keys(scope)):
            return
        message = "Missing or wrong API key: send it as `Authorization: Bearer KEY` or `X-API-Key: KEY`"
        if secret := presented_secret(scope, None):
            if scope["path"] in (REALTIME if scope["type"] == "websocket" else CALLS):
                self.secrets.read(secret)
                return
            message = "A client secret opens a session of /v1/realtime and nothing else: send the API key"
        refusal = Forbidden(message)
        refusal.status = self.status
        raise refusal
