"""Keeps other people's web pages out of a server without a key: it may be one that only its user can reach.

A browser lets any page post a form, or open a WebSocket, to any address it can reach, this machine's own included; and
whoever owns a name can point it at this machine, and is then asked for under that name (DNS rebinding). Both are told
by what a page cannot change: the `Origin` a browser adds, and the `Host` it asks for.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from speech_server.errors import HostRefused, OriginRefused
from speech_server.routes.border.envelope import error_reply
from speech_server.settings import is_loopback

POLLED = frozenset({"/health", "/ping"})  # by platforms, under names of their own; they tell nothing
READING = frozenset({"GET", "HEAD", "OPTIONS"})
PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
PLACE = re.compile(r"(?:[a-z][a-z0-9+.-]*:)?//(?:[\w.-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?", re.IGNORECASE | re.ASCII)
# Names that nobody can register, so nobody can point them anywhere (RFC 6761, 6762, 8375, and ICANN's .internal).
PRIVATE_NAMES = (".localhost", ".local", ".internal", ".lan", ".home.arpa")


class Visitors:
    """`address` is what the server listens on, `origins` and `hosts` are allowed whatever they look like."""

    def __init__(self, app: ASGIApp, address: str, origins: list[str], hosts: list[str]) -> None:
        self.app = app
        self.address = address
        self.origins = frozenset(origin.rstrip("/").lower() for origin in origins)
        self.hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self.refusal(scope) if scope["type"] in ("http", "websocket") else None
        await (error_reply(refusal) if refusal else self.app)(scope, receive, send)

    def refusal(self, scope: Scope) -> HostRefused | OriginRefused | None:
        if "*" in self.hosts or scope["path"] in POLLED:
            return None
        headers = Headers(scope=scope)
        host = split_host(headers.get("host", ""))
        if is_loopback(self.address.lower()) and not self.is_own(host.hostname or ""):
            return HostRefused(
                f"This server does not answer under the name '{host.netloc[:200]}'; if it is yours, start it with "
                "ALLOWED_HOSTS set to that name"
            )
        origin = headers.get("origin")
        if origin is None or (scope["type"] == "http" and scope["method"] in READING) or self.is_known(origin, headers):
            return None
        return OriginRefused(
            f"Web pages of '{origin[:200]}' may not use this server; to let them, start it with ALLOW_ORIGINS set to "
            "that origin, or give it an API_KEY"
        )

    def is_known(self, origin: str, headers: Headers) -> bool:
        if not self.origins.isdisjoint(("*", origin.lower())):
            return True
        page = split(origin)
        if page.scheme not in ("http", "https") or not page.hostname:
            return False
        # A page that names its server with TLS has been shown a certificate: no rebinding. It cannot forge
        # X-Forwarded-Host either: a browser asks before it sends such a header elsewhere, and gets no permission.
        if page.scheme == "http" and not self.is_own(page.hostname):
            return False
        here = [headers.get("host", ""), headers.get("x-forwarded-host", "").partition(",")[0].strip()]
        return any(same_place(page, split_host(name)) for name in here if name)

    def is_own(self, name: str) -> bool:
        """Whether nobody but the server's owner can have given it that name."""
        name = name.lower().rstrip(".")
        if name in self.hosts or name in (self.address.lower(), "localhost"):
            return True
        return is_address(name) or "." not in name or name.endswith(PRIVATE_NAMES)


def split(url: str) -> SplitResult:
    """Parts that can be trusted to be one host and a port, or none at all."""
    try:
        parts = urlsplit(url if PLACE.fullmatch(url) else "")
        _ = parts.port
    except ValueError:  # brackets around what is no IPv6 address, or a port that cannot be
        return urlsplit("")
    return parts


def split_host(host: str) -> SplitResult:
    return split(f"//{host}")


def same_place(page: SplitResult, here: SplitResult) -> bool:
    own_port = PORTS[page.scheme]  # a Host names no port where it is the scheme's own
    return page.hostname == here.hostname and (page.port or own_port) == (here.port or own_port)


def is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
