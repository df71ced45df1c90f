"""The process that opens each file before the server does: a native call that takes too long ends one child of it only.

FFmpeg opens a file in one call, which nothing can stop, and its time for tags grows with their square: 800 kB of them
take 45 s. Each file has a child of its own, forked from here with the library already loaded: that takes 2 ms. Run by
vetting.py; ends, with its children, when the socket closes.
"""

from __future__ import annotations

import os
import resource
import selectors
import signal
import socket
import stat
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import av

from speech_server.audio.containers import open_container
from speech_server.audio.lent.relay import Asking, Placed

SECONDS = 0.8  # of CPU time; the index of a recording of six hours takes a tenth of it
BYTES_PER_SECOND = 50_000_000  # and so much more time for what is read to its end
MEMORY = 512 << 20  # bytes, above what the process has when it starts
PATIENCE = 0.15  # seconds; a file that takes longer is late, and goes on when others leave the machine time
MOST_IN_TIME, MOST_LATE = 6, 8  # files at once; of too many late ones the oldest is given up
_NICE = 15
_READ_TO_THE_END = ("flv", "live_flv", "kux", "nut")  # their tags may come anywhere
# What the server is told, and the exit status of the child that found it.
OPENED, TOO_BIG, TOO_LONG, CRASHED = b"o", b"m", b"t", b"x"
_ANSWERS = {0: OPENED, 3: TOO_BIG, -signal.SIGPROF: TOO_LONG}


class FileAt(Placed):
    """A descriptor shared with the server, whose position must stay."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.size = os.fstat(descriptor).st_size

    def read(self, size: int = -1) -> bytes:
        data = os.pread(self._descriptor, size, self._at)
        self._at += len(data)
        return data


def vet(descriptor: int) -> int:
    """The exit status. SIGPROF ends the process when the time is over."""
    is_lent = stat.S_ISSOCK(os.fstat(descriptor).st_mode)
    file = Asking(socket.socket(fileno=descriptor)) if is_lent else FileAt(descriptor)
    _bound_memory()
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        with open_container(file) as container:
            if container.format.name in _READ_TO_THE_END:
                signal.setitimer(signal.ITIMER_PROF, SECONDS + file.size / BYTES_PER_SECOND)
                for _ in container.demux():
                    pass
    except MemoryError:
        return 3
    except (av.FFmpegError, OSError, ValueError, IndexError):
        pass  # who opens it next is told
    return 0


def _bound_memory() -> None:
    if sys.platform == "linux":
        with open("/proc/self/statm") as sizes:  # noqa: PTH123
            taken = int(sizes.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, taken + MEMORY))


@dataclass
class _Child:
    pid: int
    reply: socket.socket
    late_at: float
    is_late: bool = False


class Forks:
    """Forks a child per file, tells how it ended, and ends those nobody waits for. One thread, which never blocks."""

    def __init__(self, server: socket.socket) -> None:
        self._server = server
        self._children: dict[int, _Child] = {}
        self._events = selectors.DefaultSelector()
        self._ended, wake = socket.socketpair()
        wake.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake.fileno())
        self._wake = wake
        self._events.register(self._ended, selectors.EVENT_READ, self._reap)
        self._listening = False

    def run(self) -> None:
        """Until the server has gone."""
        try:
            while True:
                self._listen_if_room()
                for key, _ in self._events.select(self._until_late()):
                    act: Callable[[], None] = key.data
                    act()
                self._put_late_behind()
        except EOFError:
            return
        finally:
            for child in self._children.values():
                os.kill(child.pid, signal.SIGKILL)

    def _listen_if_room(self) -> None:
        room = sum(not child.is_late for child in self._children.values()) < MOST_IN_TIME
        if room and not self._listening:
            self._events.register(self._server, selectors.EVENT_READ, self._take)
        elif self._listening and not room:
            self._events.unregister(self._server)
        self._listening = room

    def _take(self) -> None:
        order, files, _, _ = socket.recv_fds(self._server, 1, 2)
        if not order:
            raise EOFError
        file, reply = files[0], socket.socket(fileno=files[1])
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                status = vet(file)
            finally:
                os._exit(status)
        os.close(file)
        child = self._children[pid] = _Child(pid, reply, time.monotonic() + PATIENCE)
        self._events.register(reply, selectors.EVENT_READ, lambda: self._end(child))

    def _end(self, child: _Child) -> None:
        """The server has closed its side: nobody waits."""
        self._events.unregister(child.reply)
        os.kill(child.pid, signal.SIGKILL)

    def _reap(self) -> None:
        self._ended.recv(1 << 16)
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            child = self._children.pop(pid)
            if child.reply in self._events.get_map():
                self._events.unregister(child.reply)
            with child.reply, suppress(OSError):
                child.reply.send(_ANSWERS.get(os.waitstatus_to_exitcode(status), CRASHED))

    def _until_late(self) -> float | None:
        times = [child.late_at for child in self._children.values() if not child.is_late]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _put_late_behind(self) -> None:
        now = time.monotonic()
        for child in self._children.values():
            if not child.is_late and child.late_at <= now:
                child.is_late = True
                os.setpriority(os.PRIO_PROCESS, child.pid, _NICE)
        late = [child for child in self._children.values() if child.is_late]
        for child in late[: max(0, len(late) - MOST_LATE)]:
            os.kill(child.pid, signal.SIGPROF)


def main(descriptor: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # for the server, which closes the socket
    with socket.socket(fileno=descriptor) as server:
        Forks(server).run()


if __name__ == "__main__":
    main(int(sys.argv[1]))
