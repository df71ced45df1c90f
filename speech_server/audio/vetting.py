"""Asks another process whether a file can be opened in a bounded time, before this one opens it."""

from __future__ import annotations

import asyncio
import atexit
import io
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from speech_server.audio.lent import relay
from speech_server.audio.lent.file import Lent
from speech_server.errors import AudioUnreadable, Busy, LenderFailed, RequestTooLarge
from speech_server.pools import Pool

LONGEST_WAIT = 60.0  # seconds; the vetter's own limit is on its CPU time, and a busy machine may give it little
_LONGEST_DEATH = 5.0  # seconds, of a process whose socket is closed
_COPIED = 1 << 20  # bytes; an upload of at most so many is in memory, not in a file
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "TMPDIR")  # no keys: what runs there is what strangers sent

_reading = Pool("opening-lent", 8, waiting=1024)
_handing_over = Pool("opening", 2, waiting=1024)


class Vetter:
    """The process, and this end of the socket on which files go to it."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        try:
            with theirs:
                self.process = subprocess.Popen(
                    [sys.executable, "-m", "speech_server.audio.vetter", str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                    env={**environment, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
                )
        except BaseException:
            self._socket.close()
            raise
        self._socket.setblocking(False)

    def hand_over(self, descriptor: int) -> socket.socket:
        """Where the answer will come; closing it ends the work. Raises OSError once the process has died."""
        reply, theirs = socket.socketpair()
        reply.setblocking(False)
        try:
            with theirs:
                socket.send_fds(self._socket, [b"?"], [descriptor, theirs.fileno()])
        except BlockingIOError:
            reply.close()
            raise Busy("many files wait to be opened: try again later") from None
        except BaseException:
            reply.close()
            raise
        return reply

    def end(self) -> None:
        self._socket.close()
        try:
            self.process.wait(_LONGEST_DEATH)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


_lock = threading.Lock()
_vetter: Vetter | None = None


async def vet(source: Path | BinaryIO) -> None:
    """Raises RequestTooLarge for a file whose opening takes too much time or memory, AudioUnreadable for one that
    crashes the library, Busy. Whoever is cancelled leaves nothing running."""
    answer = await _ask(source) or await _ask(source)  # the process may have died of itself, long ago
    if answer == b"t":
        raise RequestTooLarge(
            "the file takes too long to open, its tags or its index are too large: send it without them, or as wav, "
            "flac or mp3",
            param="file",
        )
    if answer == b"m":
        raise RequestTooLarge("the file takes too much memory to open: send it as wav, flac or mp3", param="file")
    if answer != b"o":
        raise AudioUnreadable("the file cannot be opened: send wav, mp3, flac or another format", param="file")


async def _ask(source: Path | BinaryIO) -> bytes:
    """One of vetter.py's answers; none where the process died."""
    handed = _handing_over.submit(_hand_over, source)
    try:
        reply = await asyncio.wrap_future(handed)
    except asyncio.CancelledError:
        handed.add_done_callback(_close)
        raise
    except ConnectionError:  # another was started, and died too
        return b""
    with reply:
        try:
            return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(reply, 1), LONGEST_WAIT)
        except ConnectionError:
            return b""
        except TimeoutError:
            raise Busy("the machine had no time to open the file: try again later") from None


def _close(handed: Future[socket.socket]) -> None:
    if not handed.cancelled() and handed.exception() is None:
        handed.result().close()


def _hand_over(source: Path | BinaryIO) -> socket.socket:
    with _descriptor(source) as descriptor:
        try:
            return _running().hand_over(descriptor)
        except OSError:
            end()
            return _running().hand_over(descriptor)


def _running() -> Vetter:
    global _vetter
    with _lock:
        if _vetter is not None and _vetter.process.poll() is not None:
            _vetter.end()
            _vetter = None
        _vetter = _vetter or Vetter()
        return _vetter


def warm() -> None:
    """Starts the process for who comes next."""
    with suppress(Busy):
        _handing_over.submit(_running)


@atexit.register
def end() -> None:
    global _vetter
    with _lock:
        ending, _vetter = _vetter, None
    if ending is not None:
        ending.end()


@contextmanager
def _descriptor(source: Path | BinaryIO) -> Iterator[int]:
    """A descriptor of the file's bytes."""
    if isinstance(source, Path):
        with source.open("rb") as file:
            yield file.fileno()
        return
    if isinstance(source, Lent):
        with _read_for(source) as theirs:
            yield theirs.fileno()
        return
    size = source.seek(0, io.SEEK_END)
    source.seek(0)
    if size > _COPIED and (descriptor := _own_descriptor(source)) is not None:
        yield descriptor
        return
    with _memory_file() as copy:
        while data := source.read(_COPIED):
            copy.write(data)
        copy.flush()
        source.seek(0)
        yield copy.fileno()


def _read_for(source: Lent) -> socket.socket:
    """One end of a relay, whose other end a thread serves."""
    ours, theirs = socket.socketpair()
    try:
        _reading.submit(_answer, source, ours)
    except BaseException:
        ours.close()
        theirs.close()
        raise
    return theirs


def _answer(source: Lent, ours: socket.socket) -> None:
    with suppress(OSError, LenderFailed):  # whoever opens it next is told
        relay.answer(source, source.size, ours)


def _own_descriptor(source: BinaryIO) -> int | None:
    try:
        return source.fileno()
    except io.UnsupportedOperation:
        return None


def _memory_file() -> BinaryIO:
    if sys.platform == "linux":
        return os.fdopen(os.memfd_create("upload"), "w+b")
    return tempfile.TemporaryFile()
