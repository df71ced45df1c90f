"""Transports for httpx and httpx2 (huggingface_hub's fork of it): every request and redirect goes through a door.

The name stays in the URL, so Host, TLS and the pool of open connections are those of the name; only the connection
itself is made to an address that the door gave for it. `library` is the caller's httpx: nothing is imported here.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any, Self

from outgoing.door import CONNECT_SECONDS, Door, attempts
from outgoing.errors import HostUnknown
from outgoing.url import parse_url


def transport(door: Door, library: ModuleType, verify: Any = True) -> Any:
    """For `library.Client(transport=...)`; `verify` as there."""
    return _Transport(door, library, verify)


def async_transport(door: Door, library: ModuleType, verify: Any = True) -> Any:
    """For `library.AsyncClient(transport=...)`."""
    return _AsyncTransport(door, library, verify)


class _Transport:
    def __init__(self, door: Door, library: ModuleType, verify: Any) -> None:
        make = library.HTTPTransport
        self._ways = _Ways(door, library, _Connector, lambda proxy: make(verify=verify, proxy=proxy))

    def handle_request(self, request: Any) -> Any:
        return self._ways.to(str(request.url)).handle_request(request)

    def close(self) -> None:
        for way in self._ways.open.values():
            way.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _AsyncTransport:
    def __init__(self, door: Door, library: ModuleType, verify: Any) -> None:
        make = library.AsyncHTTPTransport
        self._ways = _Ways(door, library, _AsyncConnector, lambda proxy: make(verify=verify, proxy=proxy))

    async def handle_async_request(self, request: Any) -> Any:
        return await self._ways.to(str(request.url)).handle_async_request(request)

    async def aclose(self) -> None:
        for way in self._ways.open.values():
            await way.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class _Ways:
    """The library's own transports: one that connects directly, and one for each proxy."""

    def __init__(
        self, door: Door, library: ModuleType, connector: type[_Connector], make: Callable[[str | None], Any]
    ) -> None:
        self._door = door
        self._core = importlib.import_module(library.__name__.replace("httpx", "httpcore"))
        self._connector = connector
        self._make = make
        self.open: dict[str | None, Any] = {}

    def to(self, text: str) -> Any:
        proxy = self._door.proxy(parse_url(text))
        if proxy not in self.open:
            way = self._make(proxy)
            # httpcore's own seam, which httpx does not hand on. Read before it is written: a version without it fails
            # here, and not open.
            way._pool._network_backend = self._connector(way._pool._network_backend, self._door, self._core)
            self.open[proxy] = way
        return self.open[proxy]


class _Connector:
    """A network backend of httpcore that connects to the door's addresses, one after the other."""

    def __init__(self, backend: Any, door: Door, core: ModuleType) -> None:
        self._backend = backend
        self._door = door
        self._core = core
        self._failures = (core.ConnectError, core.ConnectTimeout)

    def connect_tcp(self, host: str, port: int, timeout: float | None = None, **options: Any) -> Any:
        seconds = CONNECT_SECONDS if timeout is None else timeout
        until = time.monotonic() + seconds
        try:
            addresses = self._door.addresses(host, port, seconds)
        except HostUnknown as error:
            raise self._core.ConnectError(error.message) from error
        failure: Exception | None = None
        for address, patience in attempts(addresses, until):
            try:
                return self._backend.connect_tcp(address, port, timeout=patience, **options)
            except self._failures as error:  # the next address may be reachable: IPv6 on a host without it
                failure = error
        assert failure is not None
        raise failure

    def connect_unix_socket(self, path: str, *_: Any, **__: Any) -> Any:
        raise self._core.ConnectError(f"{path}: no socket of this machine is a way out")

    def sleep(self, seconds: float) -> Any:
        return self._backend.sleep(seconds)


class _AsyncConnector(_Connector):
    async def connect_tcp(self, host: str, port: int, timeout: float | None = None, **options: Any) -> Any:
        seconds = CONNECT_SECONDS if timeout is None else timeout
        until = time.monotonic() + seconds
        try:
            addresses = await self._door.addresses_async(host, port, seconds)
        except HostUnknown as error:
            raise self._core.ConnectError(error.message) from error
        failure: Exception | None = None
        for address, patience in attempts(addresses, until):
            try:
                return await self._backend.connect_tcp(address, port, timeout=patience, **options)
            except self._failures as error:
                failure = error
        assert failure is not None
        raise failure
