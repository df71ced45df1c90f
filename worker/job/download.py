"""Fetches a URL that a stranger chose: public addresses only, few redirects, bounded in size and time."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

import httpx

from outgoing.addresses import is_any, is_public
from outgoing.door import Door
from outgoing.errors import AddressRefused, OutgoingError, UrlRefused, reason_in
from outgoing.http import async_transport
from outgoing.lookups import LookUp, system_look_up
from outgoing.url import Url, parse_url
from worker.errors import InvalidJob, MediaUnavailable, WorkerError
from worker.settings import Settings

MAX_REDIRECTS = 5
_BLOCK = 1 << 20
_REDIRECTS = (301, 302, 303, 307, 308)
_WHOLE: Mapping[str, str] = MappingProxyType({})


def door_for(settings: Settings, look_up: LookUp = system_look_up) -> Door:
    """Where a job's URLs may lead."""
    return Door.to_strangers(allows=is_any if settings.allow_private_urls else is_public, look_up=look_up)


def refusal(where: str, error: OutgoingError) -> WorkerError:
    """The door's answer as an answer to a job; `where` is the place in the job."""
    if isinstance(error, UrlRefused):
        return InvalidJob(f"{where}: {error.message}")
    hint = "; RUNPOD_ALLOW_PRIVATE_DOWNLOAD_URLS=true would allow it" if isinstance(error, AddressRefused) else ""
    return MediaUnavailable(f"{where}: {error.message}{hint}")


@dataclass(frozen=True, slots=True)
class Download:
    url: str
    where: str  # the place in the job, for messages
    settings: Settings
    look_up: LookUp = system_look_up

    async def to(self, write: Callable[[bytes], Awaitable[None]]) -> None:
        """Hands the file's bytes on in blocks. Raises InvalidJob, MediaUnavailable."""
        async with self.in_time(self.settings.download_timeout), self.client() as client:
            await self.read(await self.follow(client), write)

    def client(self) -> httpx.AsyncClient:
        """The only way to the URL, for `follow`."""
        transport = async_transport(door_for(self.settings, self.look_up), httpx, verify=_tls())
        limits = httpx.Timeout(self.settings.download_stall_timeout)
        return httpx.AsyncClient(transport=transport, trust_env=False, timeout=limits)

    @asynccontextmanager
    async def in_time(self, seconds: float) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError:
            limit = f"not fetched within {self.settings.download_timeout:g} s (WORKER_DOWNLOAD_TIMEOUT)"
            raise MediaUnavailable(f"{self.where}: {limit}") from None

    async def read(self, response: httpx.Response, write: Callable[[bytes], Awaitable[None]]) -> None:
        """The rest of an answer. Raises MediaUnavailable."""
        total = 0
        try:
            async for block in response.aiter_raw(_BLOCK):
                total += len(block)
                if total > self.settings.max_download_bytes:
                    raise self.too_large(f"more than {self.settings.max_download_bytes}")
                await write(block)
        except httpx.HTTPError as error:
            raise self._unreachable(parse_url(self.url), error) from None

    async def follow(
        self, client: httpx.AsyncClient, headers: Mapping[str, str] = _WHOLE, statuses: Sequence[int] = (200,)
    ) -> httpx.Response:
        """The answer with one of the `statuses`, through all redirects; its body is still on its way."""
        try:
            url = parse_url(self.url)
            for _ in range(MAX_REDIRECTS + 1):
                response = await self._get(client, url, headers)
                if response.status_code not in _REDIRECTS:
                    return self._check(response, url, statuses)
                location = response.headers.get("location", "")
                await response.aclose()
                url = url.join(location)
        except OutgoingError as error:
            raise refusal(self.where, error) from None
        raise MediaUnavailable(f"{self.where}: more than {MAX_REDIRECTS} redirects")

    async def _get(self, client: httpx.AsyncClient, url: Url, more: Mapping[str, str]) -> httpx.Response:
        headers = {"accept-encoding": "identity", "user-agent": "runpod-speech", **more}
        try:
            return await client.send(client.build_request("GET", url.text, headers=headers), stream=True)
        except httpx.HTTPError as error:
            if known := reason_in(error):
                raise known from None
            raise self._unreachable(url, error) from None

    def _check(self, response: httpx.Response, url: Url, statuses: Sequence[int]) -> httpx.Response:
        if response.status_code not in statuses:
            hint = {401: "give a URL that needs no login", 403: "give a URL that needs no login, or a fresh link"}
            advice = hint.get(response.status_code, "check the URL")
            raise MediaUnavailable(f"{self.where}: the URL answered {response.status_code} ({url.shown}): {advice}")
        if (encoding := response.headers.get("content-encoding", "identity").lower()) != "identity":
            raise MediaUnavailable(f"{self.where}: sent {encoding[:20]}-encoded, which nobody asked for ({url.shown})")
        declared = response.headers.get("content-length", "0")
        if re.fullmatch(r"\d{1,18}", declared) and int(declared) > self.settings.max_download_bytes:
            raise self.too_large(declared)
        return response

    def too_large(self, size: str) -> MediaUnavailable:
        limit = self.settings.max_download_bytes
        return MediaUnavailable(f"{self.where}: {size} bytes; RUNPOD_MAX_DOWNLOAD_BYTES allows {limit}")

    def _unreachable(self, url: Url, error: httpx.HTTPError) -> MediaUnavailable:
        what = "stood still" if isinstance(error, httpx.TimeoutException) else type(error).__name__
        return MediaUnavailable(f"{self.where}: {url.shown} could not be fetched: {what}")


@cache
def _tls() -> ssl.SSLContext:
    return httpx.create_ssl_context()
