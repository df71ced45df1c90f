"""The bytes of an answer that goes out only when it is whole: in memory while they are few, on disk beyond."""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from tempfile import SpooledTemporaryFile

from speech_server.errors import StorageFull

IN_MEMORY = 4 << 20  # bytes
PIECE = 1 << 20
LOOK_EVERY = 16 << 20  # bytes written between two looks at the disk


class Spool:
    """A file for one writer, who may seek. Leaves `keep_free` bytes of the disk: raises StorageFull beyond."""

    def __init__(self, keep_free: int) -> None:
        self._keep_free = keep_free
        self._unlooked = 0
        self._closed = False

    @cached_property
    def _file(self) -> SpooledTemporaryFile[bytes]:
        if self._closed:
            raise ValueError("the spool is closed")
        return SpooledTemporaryFile(max_size=IN_MEMORY)

    def write(self, data: bytes) -> int:
        self._unlooked += len(data)
        if self._unlooked > LOOK_EVERY:
            self._unlooked = 0
            if shutil.disk_usage(tempfile.gettempdir()).free < self._keep_free + LOOK_EVERY:
                raise _full()
        with _disk():
            return self._file.write(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        with _disk():  # writes what the file had kept to itself
            return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def pieces(self) -> Iterator[bytes]:
        """All of it, from the beginning."""
        self.seek(0)
        while data := self._file.read(PIECE):
            yield data

    def close(self) -> None:
        self._closed = True
        if "_file" in self.__dict__:
            with suppress(OSError):  # the same once more; it is closed all the same
                self._file.close()


@contextmanager
def _disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _full() from error
        raise


def _full() -> StorageFull:
    return StorageFull("The server's disk is full: ask for a streamed format, or for shorter texts")
