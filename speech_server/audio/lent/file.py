"""A file that stays with whoever started this server, and is read in parts over HTTP on loopback.

A form part names it in place of its bytes, as RFC 2017 has it: message/external-body; access-type=URL; URL="...".
"""

from __future__ import annotations

import hmac
import http.client
import io
import re
import socket
from contextlib import suppress
from typing import Any

from speech_server.audio.lent.relay import Placed
from speech_server.errors import InvalidRequest, LenderFailed

BLOCK = 1 << 18  # bytes read at a time
_SECONDS = 600.0  # for one of them: who lends has limits of its own
_EXTERNAL = re.compile(
    r'message/external-body;\s*access-type=url;\s*url="http://127\.0\.0\.1:(\d{1,5})(/([\w-]+)/[\w-]+)"', re.IGNORECASE
)
_SIZE = re.compile(r"bytes \d+-\d+/(\d+)")


def is_lent(content_type: str) -> bool:
    return content_type.lower().startswith("message/external-body")


class Lent(io.BufferedReader):
    """Its reads raise LenderFailed; `end` makes one that waits fail, from any thread, where `close` would wait too."""

    def __init__(self, content_type: str, key: str) -> None:
        """Blocking. Raises InvalidRequest where it is not an address that begins with `key`, LenderFailed."""
        found = _EXTERNAL.fullmatch(content_type)
        if not (found and key and hmac.compare_digest(found[3].encode(), key.encode())):
            raise InvalidRequest("files are uploaded here: message/external-body is not taken", param="file")
        self._loan = _Loan(int(found[1]), found[2])
        self.content_type, self.size = self._loan.content_type, self._loan.size
        super().__init__(self._loan, BLOCK)

    def end(self) -> None:
        self._loan.end()


class _Loan(Placed):
    def __init__(self, port: int, path: str) -> None:
        self._address, self._path = ("127.0.0.1", port), path
        self._connection: http.client.HTTPConnection | None = None
        self._ended = False
        self.size, self.content_type = 0, ""
        self._head = self._fetch(0, BLOCK)

    def readinto(self, buffer: Any) -> int:
        """Up to the end of a block: no two blocks are fetched where one will do."""
        count = min(len(buffer), BLOCK - self._at % BLOCK, max(self.size - self._at, 0))
        if count == 0:
            return 0
        end = self._at + count
        data = self._head[self._at : end] if end <= len(self._head) else self._fetch(self._at, count)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def end(self) -> None:
        self._ended = True
        connection = self._connection
        if connection is not None and connection.sock is not None:
            with suppress(OSError):  # it ended by itself
                connection.sock.shutdown(socket.SHUT_RDWR)

    def _fetch(self, start: int, count: int) -> bytes:
        self._connection = http.client.HTTPConnection(*self._address, timeout=_SECONDS)
        try:
            self._connection.connect()
            if self._ended:
                raise LenderFailed(_GONE)
            headers = {"range": f"bytes={start}-{start + count - 1}", "connection": "close"}
            self._connection.request("GET", self._path, headers=headers)
            response = self._connection.getresponse()
            data = response.read(count)
            size = _SIZE.fullmatch(response.headers.get("content-range", ""))
            if response.status != 206 or not size or not data:
                raise LenderFailed(_GONE)
        except (OSError, http.client.HTTPException) as error:
            raise LenderFailed(_GONE) from error
        finally:
            self._connection.close()
        self.size, self.content_type = int(size[1]), response.headers.get("content-type", "")
        return data


_GONE = "the file could not be read any further: whoever lends it gave none of it"
