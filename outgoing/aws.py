"""The connections of one botocore client, through a door: names are judged before a request, and pinned for it.

Host, TLS and the signature keep the name. botocore's redirects to another region and its bucket.host names come by here
like everything else. A line can be cut from another thread, which ends whatever the client is waiting for.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from outgoing.door import CONNECT_SECONDS, Door, attempts
from outgoing.errors import AnswerTooLarge, LineCut
from outgoing.url import parse_url


class Line:
    """`longest_answer` bounds what a server may say in bytes, where its answers are no files."""

    def __init__(self, door: Door, *, longest_answer: int | None = None) -> None:
        self._door = door
        self._longest = longest_answer
        self._addresses: dict[tuple[str, int], list[str]] = {}
        self._sockets: list[socket.socket] = []  # duplicates: TLS takes the originals away
        self._lock = threading.Lock()
        self._is_cut = False

    def carry(self, client: Any) -> None:
        """Every request of the client goes over this line from now on."""
        client.meta.events.register_first("before-send", self._check)
        # No public way leads to the connections. The table is shared with botocore's managers, for proxies too, and
        # read before it is written: a version without it fails here, and not open.
        pools = client._endpoint.http_session._pool_classes_by_scheme
        for scheme in tuple(pools):
            pools[scheme] = _pinned(pools[scheme], self)

    def cut(self) -> None:
        """Ends all connections, and every later attempt to open one. Safe from any thread, and more than once."""
        with self._lock:
            self._is_cut = True
            for connected in self._sockets:
                with suppress(OSError):  # ended already
                    connected.shutdown(socket.SHUT_RDWR)
                connected.close()
            self._sockets.clear()

    def addresses(self, host: str, port: int) -> list[str]:
        """Looked up once in a line's life. Raises AddressRefused, HostUnknown, LineCut."""
        if self._is_cut:
            raise LineCut("given up")
        if (host, port) not in self._addresses:
            self._addresses[host, port] = self._door.addresses(host, port, CONNECT_SECONDS)
        return self._addresses[host, port]

    def connected(self, made: socket.socket) -> socket.socket:
        with self._lock:
            if self._is_cut:
                made.close()
                raise LineCut("given up")
            self._sockets.append(made.dup())
        return made

    def bound(self, response: Any) -> None:
        if (longest := self._longest) is None:
            return
        blocks = response.stream

        def stream(*args: Any, **options: Any) -> Iterator[bytes]:
            left = longest
            for block in blocks(*args, **options):
                left -= len(block)
                if left < 0:
                    response.close()
                    raise AnswerTooLarge(f"the server answered more than {longest} bytes")
                yield block

        response.stream = stream

    def _check(self, request: Any, **_: Any) -> None:
        # Here, for what is raised in the connection itself botocore tries again.
        url = parse_url(request.url)
        if self._door.proxy(url) is None:
            self.addresses(url.host, url.port)


def _pinned(pool: type[Any], line: Line) -> type[Any]:
    """A pool class of urllib3's like the given one, whose connections are the line's."""
    from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

    class Connection(pool.ConnectionCls):  # type: ignore[name-defined, misc]  # whichever botocore has
        _dns_host: str
        timeout: Any

        def _new_conn(self) -> socket.socket:
            name, seconds = self._dns_host, self.timeout
            until = time.monotonic() + (seconds if isinstance(seconds, (int, float)) else CONNECT_SECONDS)
            failure: Exception | None = None
            try:
                for address, patience in attempts(line.addresses(name.strip("[]"), self.port), until):
                    self._dns_host, self.timeout = address, patience
                    try:
                        made: socket.socket = super()._new_conn()
                    except (ConnectTimeoutError, NewConnectionError) as error:
                        failure = error
                    else:
                        made.settimeout(seconds if isinstance(seconds, (int, float)) else CONNECT_SECONDS)
                        return line.connected(made)
            finally:
                self._dns_host, self.timeout = name, seconds
            assert failure is not None
            raise failure

        def getresponse(self) -> Any:
            response = super().getresponse()
            line.bound(response)
            return response

    return type(pool.__name__, (pool,), {"ConnectionCls": Connection})
