"""Fetches a URL that a stranger chose: public addresses only, few redirects, bounded in size and time.

The rules are those of runpod 1.12's rp_ssrf, and where that stops: no blocking reads, a deadline for the whole
download, and none of the IPv6 ranges that carry an IPv4 address inside (6to4, NAT64, Teredo, mapped).
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache

import httpx

from worker.errors import InvalidJob, MediaUnavailable
from worker.settings import Settings

MAX_REDIRECTS = 5
_BLOCK = 1 << 20
_REDIRECTS = (301, 302, 303, 307, 308)
_REFUSED_NETWORKS = tuple(
    ipaddress.ip_network(network)
    for network in (
        "100.64.0.0/10",  # shared address space, RFC 6598; is_private only since CPython 3.12.4
        "192.0.0.0/24",  # protocol assignments
        "192.88.99.0/24",  # 6to4 relays
        "::/96",  # IPv4-compatible
        "::ffff:0:0/96",  # IPv4-mapped
        "::ffff:0:0:0/96",  # IPv4-translated
        "64:ff9b::/96",  # NAT64
        "64:ff9b:1::/48",  # local NAT64
        "2001::/32",  # Teredo
        "2002::/16",  # 6to4
        "fec0::/10",  # site-local
    )
)


def is_public(address: str) -> bool:
    """Whether an address belongs to one machine on the open internet and to nothing else."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if any(parsed in network for network in _REFUSED_NETWORKS if network.version == parsed.version):
        return False
    return parsed.is_global and not (parsed.is_multicast or parsed.is_reserved or parsed.is_unspecified)


async def resolve_public(host: str, port: int, where: str, *, allow_private: bool) -> list[str]:
    """All addresses of a host. One that is not public refuses the host: it could be the next one asked for."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise MediaUnavailable(f"{where}: the host {host[:100]!r} is not known") from None
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not allow_private and (private := [address for address in addresses if not is_public(address)]):
        raise MediaUnavailable(
            f"{where}: {host[:100]!r} is {private[0]}, which is not a public address; "
            "RUNPOD_ALLOW_PRIVATE_DOWNLOAD_URLS=true would allow it"
        )
    return addresses


def shown(url: httpx.URL) -> str:
    """A URL for messages: without user, password and query, where presigned links keep their secrets."""
    return f"{url.scheme}://{url.host}{':' + str(url.port) if url.port else ''}{url.path}"[:200]


@dataclass(frozen=True, slots=True)
class Download:
    url: str
    where: str  # the place in the job, for messages
    settings: Settings

    async def to(self, write: Callable[[bytes], Awaitable[None]]) -> None:
        """Hands the file's bytes on in blocks. Raises InvalidJob, MediaUnavailable."""
        settings = self.settings
        try:
            # trust_env off: through a proxy of the environment the address could not be pinned.
            async with (
                asyncio.timeout(settings.download_timeout),
                httpx.AsyncClient(
                    verify=_tls(), trust_env=False, timeout=httpx.Timeout(settings.download_stall_timeout)
                ) as client,
            ):
                response = await self._follow(client)
                await self._read(response, write)
        except TimeoutError:
            limit = f"not fetched within {settings.download_timeout:g} s (WORKER_DOWNLOAD_TIMEOUT)"
            raise MediaUnavailable(f"{self.where}: {limit}") from None

    async def _read(self, response: httpx.Response, write: Callable[[bytes], Awaitable[None]]) -> None:
        total = 0
        try:
            async for block in response.aiter_raw(_BLOCK):
                total += len(block)
                if total > self.settings.max_download_bytes:
                    raise self._too_large(f"more than {self.settings.max_download_bytes}")
                await write(block)
        except httpx.HTTPError as error:
            raise self._unreachable(self._parse(self.url), error) from None

    async def _follow(self, client: httpx.AsyncClient) -> httpx.Response:
        url = self._parse(self.url)
        for _ in range(MAX_REDIRECTS + 1):
            response = await self._get(client, url)
            if response.status_code not in _REDIRECTS:
                return self._check(response, url)
            location = response.headers.get("location", "")
            await response.aclose()
            url = self._parse(location, url)
        raise MediaUnavailable(f"{self.where}: more than {MAX_REDIRECTS} redirects")

    def _parse(self, text: str, base: httpx.URL | None = None) -> httpx.URL:
        try:
            url = base.join(text) if base else httpx.URL(text)
        except (httpx.InvalidURL, ValueError):
            raise InvalidJob(f"{self.where}: not a URL") from None
        if url.port is not None and not 0 < url.port < 65536:
            raise InvalidJob(f"{self.where}: {url.port} is not a port")
        if url.scheme not in ("http", "https") or not url.host:
            raise InvalidJob(f"{self.where}: only http and https URLs with a host are fetched, not {shown(url)!r}")
        return url

    async def _get(self, client: httpx.AsyncClient, url: httpx.URL) -> httpx.Response:
        port = url.port or (443 if url.scheme == "https" else 80)
        addresses = await resolve_public(url.host, port, self.where, allow_private=self.settings.allow_private_urls)
        last: httpx.HTTPError | None = None
        for address in addresses:
            # Connects to the address that was checked, while Host and TLS keep the name: no second look-up to rebind.
            request = client.build_request(
                "GET",
                url.copy_with(host=address, fragment=None),
                headers={"host": url.netloc.decode(), "accept-encoding": "identity", "user-agent": "runpod-speech"},
                extensions={"sni_hostname": url.host},
            )
            try:
                return await client.send(request, stream=True)
            except httpx.ConnectError as error:  # the next address may be reachable: IPv6 on a host without it
                last = error
            except httpx.HTTPError as error:
                raise self._unreachable(url, error) from None
        raise self._unreachable(url, last) from None

    def _check(self, response: httpx.Response, url: httpx.URL) -> httpx.Response:
        if response.status_code != 200:
            hint = {401: "give a URL that needs no login", 403: "give a URL that needs no login, or a fresh link"}
            advice = hint.get(response.status_code, "check the URL")
            raise MediaUnavailable(f"{self.where}: the URL answered {response.status_code} ({shown(url)}): {advice}")
        if (encoding := response.headers.get("content-encoding", "identity").lower()) != "identity":
            raise MediaUnavailable(f"{self.where}: sent {encoding[:20]}-encoded, which nobody asked for ({shown(url)})")
        declared = response.headers.get("content-length", "0")
        if re.fullmatch(r"\d{1,18}", declared) and int(declared) > self.settings.max_download_bytes:
            raise self._too_large(declared)
        return response

    def _too_large(self, size: str) -> MediaUnavailable:
        limit = self.settings.max_download_bytes
        return MediaUnavailable(f"{self.where}: {size} bytes; RUNPOD_MAX_DOWNLOAD_BYTES allows {limit}")

    def _unreachable(self, url: httpx.URL, error: httpx.HTTPError | None) -> MediaUnavailable:
        what = "stood still" if isinstance(error, httpx.TimeoutException) else type(error).__name__
        return MediaUnavailable(f"{self.where}: {shown(url)} could not be fetched: {what}")


@cache
def _tls() -> ssl.SSLContext:
    return httpx.create_ssl_context()
