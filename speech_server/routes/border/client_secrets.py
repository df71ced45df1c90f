"""Short-lived keys for browsers: each opens realtime sessions with the settings it was made for, and nothing else.

`ek_` BODY `.` MAC: the body carries expiry and settings, so that no memory is needed to read one, and every worker
with the same API_KEY reads what another made. It is signed, not encrypted: who holds it can read the settings.
"""

from __future__ import annotations

import binascii
import hmac
import json
import secrets
import time
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from speech_server.errors import Busy, InvalidRequest, SecretRefused

PREFIX = "ek_"
# It travels in one header line, and WebSocket servers, this one's and those of proxies, take 8 kB.
LONGEST = 6_000
MOST_USED = 10_000  # single-use secrets remembered until they expire: two hours at most
AGAIN = "make one with POST /v1/realtime/client_secrets"


@dataclass(frozen=True, slots=True)
class ClientSecret:
    id: str
    expires_at: int  # seconds since 1970
    single_use: bool
    session: Mapping[str, Any]  # as an update of the default session


class ClientSecrets:
    """Without an API key the signing key is this process's own: no other worker, and no later run, reads them."""

    def __init__(self, api_key: str | None, clock: Callable[[], float] = time.time) -> None:
        own = api_key.encode() if api_key else secrets.token_bytes(32)
        self._key = hmac.digest(own, b"realtime client secrets", "sha256")
        self._clock = clock
        self._used: dict[str, int] = {}  # id -> when it expires anyway

    def issue(self, session: Mapping[str, Any], seconds: int, *, single_use: bool) -> tuple[str, int]:
        """The secret, and when it expires. Raises InvalidRequest for settings that fit into no header."""
        expires_at = int(self._clock()) + seconds
        body = json.dumps([secrets.token_urlsafe(12), expires_at, single_use, session], separators=(",", ":"))
        packed = zlib.compress(body.encode(), 9)
        value = f"{PREFIX}{_text(packed)}.{_text(self._mac(packed))}"
        if len(value) > LONGEST:
            raise InvalidRequest(
                f"The session's settings make a client secret of {len(value)} characters, {LONGEST} are possible: send "
                "long instructions and tools with session.update when the session is open",
                param="session",
                code="session_too_large",
            )
        return value, expires_at

    def read(self, value: str) -> ClientSecret:
        """Raises SecretRefused for one that is forged, expired, or was used and is for one use."""
        body, _, mac = value.removeprefix(PREFIX).partition(".")
        try:
            packed, given = _bytes(body), _bytes(mac)
        except (binascii.Error, ValueError):
            packed = given = b""
        if not value.startswith(PREFIX) or not hmac.compare_digest(given, self._mac(packed)):
            raise SecretRefused(f"This client secret is none that this server made: {AGAIN}")
        secret = ClientSecret(*json.loads(zlib.decompress(packed)))
        if (late := self._clock() - secret.expires_at) >= 0:
            raise SecretRefused(f"This client secret expired {late:.0f} s ago: {AGAIN}", code="client_secret_expired")
        if secret.id in self._used:
            raise SecretRefused(f"This client secret was for one use, and is used: {AGAIN}", code="client_secret_used")
        return secret

    def spend(self, secret: ClientSecret) -> None:
        """Takes note of a single use. Raises Busy when no more can be remembered."""
        if not secret.single_use:
            return
        if len(self._used) >= MOST_USED:
            now = self._clock()
            self._used = {used: expires for used, expires in self._used.items() if expires > now}
            if len(self._used) >= MOST_USED:
                raise Busy("Too many single-use client secrets were used of late: try again later", retry_after=60)
        self._used[secret.id] = secret.expires_at

    def _mac(self, packed: bytes) -> bytes:
        return hmac.digest(self._key, packed, "sha256")


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")  # a subprotocol may not have a "="


def _bytes(text: str) -> bytes:
    return urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
