"""Watches, in the interpreter itself, where sockets connect and which names the system is asked for; lets none out."""

from __future__ import annotations

import ipaddress
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

INSIDE = "10.0.0.1"  # a private address, behind every name that ends so and behind every second look-up
_watching: Canary | None = None


class Connected(BaseException):
    """Raised in the place of a connection to anywhere but loopback: no library tries again after it."""


class Canary:
    """`connects` holds (address, port); `names` what the system was asked for; `asked` what `look_up` was asked for."""

    def __init__(self) -> None:
        self.connects: list[tuple[str, int]] = []
        self.names: list[str] = []
        self.asked: Counter[str] = Counter()

    def look_up(self, host: str, port: int) -> Sequence[str]:
        """A hostile name server: the first answer is public, the next is not (DNS rebinding)."""
        self.asked[host] += 1
        if host.endswith("inside") or host == "localhost" or self.asked[host] % 2 == 0:
            return [INSIDE]
        return ["8.8.4.4"]

    @contextmanager
    def watching(self) -> Iterator[None]:
        global _watching
        self.__init__()  # type: ignore[misc]
        _watching = self
        try:
            yield
        except (KeyboardInterrupt, AssertionError):
            raise
        except BaseException:  # noqa: BLE001 (refused, or Connected in whatever a library made of it)
            pass
        finally:
            _watching = None


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if _watching is None:
        return
    if event == "socket.connect" and isinstance(args[1], tuple):
        address, port = args[1][:2]
        _watching.connects.append((address, port))
        if not ipaddress.ip_address(address).is_loopback:
            args[0].close()  # libraries tidy up after an OSError only
            raise Connected
    if event in ("socket.getaddrinfo", "socket.gethostbyname"):
        try:
            ipaddress.ip_address(args[0])
        except ValueError:
            _watching.names.append(str(args[0]))


sys.addaudithook(_hook)
