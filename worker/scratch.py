"""Files without a name on the worker's disk: that it is full is StorageFull, whichever call notices it.

A file keeps some bytes to itself until it is sought or closed, and fails then, or once more: so all is written at once,
and closing never fails.
"""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

from worker.errors import StorageFull

_IN_MEMORY = 1 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT)


def scratch_file() -> IO[bytes]:
    """For whoever closes it with `close`."""
    with _storage(*_FULL, errno.ENOENT):  # tempfile tries to write to a folder before it takes it as usable
        return tempfile.TemporaryFile()


@contextmanager
def spool() -> Iterator[IO[bytes]]:
    """Small ones in memory, others in a file."""
    file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 (closing must not fail)
    try:
        yield file
    finally:
        close(file)


def keep(file: IO[bytes], block: bytes) -> None:
    with _storage(*_FULL):
        file.write(block)
        file.flush()


def close(file: IO[bytes]) -> None:
    """Of a file that did not fit, the rest is tried once more, and the file closed all the same."""
    with suppress(OSError):
        file.close()


@contextmanager
def _storage(*full: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in full:
            raise StorageFull("the worker's disk is full: give the endpoint more disk") from None
        raise
