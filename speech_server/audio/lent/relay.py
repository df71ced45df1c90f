"""A file that one process reads for another, which knows no network: (place, count) goes one way on a socket, (length,
bytes) the other. First comes the file's size."""

from __future__ import annotations

import io
import socket
import struct
from typing import BinaryIO

_ORDER, _LENGTH = struct.Struct("!QQ"), struct.Struct("!Q")
_MOST = 1 << 20  # bytes at a time


def answer(file: BinaryIO, size: int, asker: socket.socket) -> None:
    """Until the other side closes its end. Raises what the file's reads raise, OSError."""
    with asker, asker.makefile("rwb") as stream:
        stream.write(_LENGTH.pack(size))
        stream.flush()
        while len(order := stream.read(_ORDER.size)) == _ORDER.size:
            place, count = _ORDER.unpack(order)
            file.seek(place)
            data = file.read(min(count, _MOST))
            stream.write(_LENGTH.pack(len(data)) + data)
            stream.flush()


class Placed(io.RawIOBase):
    """A file that is read by place. `size` is known; a reader moves `_at` on by what it read."""

    size: int
    _at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = max(0, offset + (0, self._at, self.size)[whence])
        return self._at

    def tell(self) -> int:
        return self._at


class Asking(Placed):
    """The file, where `answer` is at the other end; it ends where that has given up."""

    def __init__(self, answerer: socket.socket) -> None:
        self._stream = answerer.makefile("rwb")
        self.size = self._number()

    def read(self, size: int = -1) -> bytes:
        left = max(0, self.size - self._at)
        self._stream.write(_ORDER.pack(self._at, min(size, left) if size >= 0 else left))
        self._stream.flush()
        data = self._stream.read(self._number())
        self._at += len(data)
        return data

    def _number(self) -> int:
        data = self._stream.read(_LENGTH.size)
        return int(_LENGTH.unpack(data)[0]) if len(data) == _LENGTH.size else 0
