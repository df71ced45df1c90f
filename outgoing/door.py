"""Where one caller's URLs may lead: names are looked up here, their addresses judged, and only these are connected to.

Blocking and async clients ask the same question, `addresses`, when they open a connection, and connect to nothing else.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from outgoing.addresses import is_any, is_public
from outgoing.errors import AddressRefused, HostUnknown
from outgoing.lookups import LookUp, lookups, system_look_up
from outgoing.url import Url

CONNECT_SECONDS = 10.0  # a name's look-up and its connection together, where a client has no limit of its own
# How long an address may be silent while there is another: one lost packet is sent again after 1 s.
PATIENCE = 2.5


@dataclass(frozen=True, slots=True)
class Door:
    """`allows` judges an address. `uses_proxies`: the environment's proxy is asked, and then looks names up itself."""

    allows: Callable[[str], bool]
    look_up: LookUp = system_look_up
    uses_proxies: bool = False

    @classmethod
    def to_strangers(cls, *, allows: Callable[[str], bool] = is_public, look_up: LookUp = system_look_up) -> Door:
        """For URLs that a caller chose. Never through a proxy: the address could not be pinned."""
        return cls(allows, look_up)

    @classmethod
    def of_operator(cls, look_up: LookUp = system_look_up) -> Door:
        """For URLs that whoever runs this configured; they may be private, and are parsed as strictly."""
        return cls(is_any, look_up, uses_proxies=True)

    def addresses(self, host: str, port: int, seconds: float) -> list[str]:
        """All addresses of a host. Raises AddressRefused, HostUnknown."""
        if literal := _literal(host):
            return self._judged(host, [literal])
        future = self._ask(host, port)
        try:
            return self._judged(host, future.result(seconds))
        except TimeoutError:
            future.cancel()
            raise _late(host, seconds) from None
        except (OSError, ValueError):
            raise _unknown(host) from None

    async def addresses_async(self, host: str, port: int, seconds: float) -> list[str]:
        if literal := _literal(host):
            return self._judged(host, [literal])
        try:
            async with asyncio.timeout(seconds):
                return self._judged(host, await asyncio.wrap_future(self._ask(host, port)))
        except TimeoutError:
            raise _late(host, seconds) from None
        except (OSError, ValueError):
            raise _unknown(host) from None

    def proxy(self, url: Url) -> str | None:
        """The environment's proxy for a URL, as other programs understand HTTPS_PROXY and NO_PROXY."""
        if not self.uses_proxies:
            return None
        from urllib.request import getproxies, proxy_bypass

        proxies = getproxies()
        found = proxies.get(url.scheme) or proxies.get("all")
        if not found or proxy_bypass(url.host):
            return None
        return found if "://" in found else f"http://{found}"

    def _ask(self, host: str, port: int) -> Future[Sequence[str]]:
        try:
            return lookups.submit(self.look_up, host, port)
        except RuntimeError:
            raise HostUnknown(f"the host {host[:100]!r} cannot be looked up: no thread can be started") from None

    def _judged(self, host: str, found: Sequence[str]) -> list[str]:
        addresses = list(dict.fromkeys(found))
        if not addresses:
            raise _unknown(host)
        # One that is refused refuses the host: it could be the next one asked for.
        if refused := [address for address in addresses if not self.allows(address)]:
            raise AddressRefused(f"{host[:100]!r} is {refused[0]}, which is not a public address")
        return addresses


def attempts(addresses: Sequence[str], until: float) -> Iterator[tuple[str, float]]:
    """Each address with the seconds it may take to connect; `until` is on the monotonic clock."""
    for number, address in enumerate(addresses, 1):
        left = max(until - time.monotonic(), 0.05)
        if number == len(addresses):
            yield address, left
        elif left > 0.05:
            yield address, min(left, PATIENCE)


def _literal(host: str) -> str | None:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return None


def _unknown(host: str) -> HostUnknown:
    return HostUnknown(f"the host {host[:100]!r} is not known")


def _late(host: str, seconds: float) -> HostUnknown:
    return HostUnknown(f"the host {host[:100]!r} is not known after {seconds:g} s: does the name server answer?")
