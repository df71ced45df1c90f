"""Asks another process whether a file can be opened in a bounded time, before this one opens it."""

from __future__ import annotations

import atexit
import io
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NoReturn

from speech_server.errors import AudioUnreadable, Busy, RequestTooLarge

ASK_EVERY = 0.05  # seconds between looks at the stop
LONGEST_WAIT = 60.0  # seconds; the vetter's own limit is on its CPU time, and a busy machine may give it little
LONGEST_DEATH = 5.0  # seconds, of a process that has closed its socket
MOST_IDLE = 2
_COPIED = 1 << 20  # bytes; an upload of at most so many is in memory, not in a file
_OPENED, _TOO_BIG = b"o", b"m"
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "TMPDIR")  # no keys: what runs there is what strangers sent

_idle: list[Vetter] = []


def vet(source: Path | BinaryIO, stop: threading.Event) -> None:
    """Blocking, mostly waiting. Raises RequestTooLarge for a file whose opening takes too much time or memory,
    AudioUnreadable for one that crashes the vetter. Returns early once `stop` is set."""
    with _descriptor(source) as descriptor:
        answer, vetter = _ask(_take(), descriptor, stop) or _ask(None, descriptor, stop) or _crashed()
    if stop.is_set():
        vetter.kill()
        return
    _give_back(vetter)
    if answer == _TOO_BIG:
        raise RequestTooLarge("the file takes too much memory to open: send it as wav, flac or mp3", param="file")


def _ask(idle: Vetter | None, descriptor: int, stop: threading.Event) -> tuple[bytes, Vetter] | None:
    """None when the vetter died of itself: an idle one may have long ago."""
    vetter = idle or Vetter()
    answer = vetter.ask(descriptor, stop)
    if answer or stop.is_set():
        return answer, vetter
    if vetter.status() == -signal.SIGPROF:
        raise RequestTooLarge(
            "the file takes too long to open, its tags or its index are too large: send it without them, or as wav, "
            "flac or mp3",
            param="file",
        )
    return None


def _crashed() -> NoReturn:
    raise AudioUnreadable("the file cannot be opened: send wav, mp3, flac or another format", param="file")


def warm() -> None:
    """Starts a vetter for who comes next, unless there is one."""
    if not _idle:
        _give_back(Vetter())


class Vetter:
    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        try:
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "speech_server.audio.vetter", str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                    env={**environment, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
                )
        except BaseException:
            self._socket.close()
            raise
        self._socket.settimeout(ASK_EVERY)

    def ask(self, descriptor: int, stop: threading.Event) -> bytes:
        """Its answer; none once it has died, or `stop` is set."""
        give_up = time.monotonic() + LONGEST_WAIT
        try:
            socket.send_fds(self._socket, [b"?"], [descriptor])
            while not stop.is_set():
                try:
                    return self._socket.recv(1)
                except TimeoutError:
                    if time.monotonic() > give_up:
                        self.kill()
                        raise Busy("the machine had no time to open the file: try again later") from None
        except ConnectionError:
            pass
        return b""

    def kill(self) -> None:
        self._socket.close()
        self._process.kill()
        self._process.wait()

    def status(self) -> int:
        """Of one that is dying; a signal is its number below zero."""
        self._socket.close()
        try:
            return self._process.wait(LONGEST_DEATH)
        except subprocess.TimeoutExpired:
            self.kill()
            return self._process.returncode


def _take() -> Vetter | None:
    try:
        return _idle.pop()
    except IndexError:
        return None


def _give_back(vetter: Vetter) -> None:
    if len(_idle) < MOST_IDLE:
        _idle.append(vetter)
    else:
        vetter.kill()


@contextmanager
def _descriptor(source: Path | BinaryIO) -> Iterator[int]:
    """A descriptor of the file's bytes."""
    if isinstance(source, Path):
        with source.open("rb") as file:
            yield file.fileno()
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


def _own_descriptor(source: BinaryIO) -> int | None:
    try:
        return source.fileno()
    except io.UnsupportedOperation:
        return None


def _memory_file() -> BinaryIO:
    if sys.platform == "linux":
        return os.fdopen(os.memfd_create("upload"), "w+b")
    return tempfile.TemporaryFile()


@atexit.register
def _end_all() -> None:
    while vetter := _take():
        vetter.kill()
