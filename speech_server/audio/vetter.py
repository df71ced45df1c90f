"""The process that opens each file before the server does: a native call that takes too long ends this process only.

FFmpeg opens a file in one call, which nothing can stop, and its time for tags grows with their square: 800 kB of them
take 45 s. Run by vetting.py; ends when the socket closes.
"""

from __future__ import annotations

import io
import os
import resource
import signal
import socket
import sys

import av

from speech_server.audio.containers import open_container

SECONDS = 0.8  # of CPU time; the index of a recording of six hours takes a tenth of it
BYTES_PER_SECOND = 50_000_000  # and so much more time for what is read to its end
MEMORY = 512 << 20  # bytes, above what the process has when it starts
OPENED, TOO_BIG = b"o", b"m"
_READ_TO_THE_END = ("flv", "live_flv", "kux", "nut")  # their tags may come anywhere


class FileAt(io.RawIOBase):
    """A descriptor shared with the server, whose position must stay."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._at = 0
        self.size = os.fstat(descriptor).st_size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = os.pread(self._descriptor, size, self._at)
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = max(0, offset + (0, self._at, self.size)[whence])
        return self._at

    def tell(self) -> int:
        return self._at


def vet(descriptor: int) -> bytes:
    """SIGPROF ends the process when the time is over."""
    file = FileAt(descriptor)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        with open_container(file) as container:
            if container.format.name in _READ_TO_THE_END:
                signal.setitimer(signal.ITIMER_PROF, SECONDS + file.size / BYTES_PER_SECOND)
                for _ in container.demux():
                    pass
    except MemoryError:
        return TOO_BIG
    except (av.FFmpegError, ValueError, IndexError):
        pass  # who opens it next is told
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return OPENED


def bound_memory() -> None:
    if sys.platform == "linux":
        with open("/proc/self/statm") as sizes:  # noqa: PTH123
            taken = int(sizes.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, taken + MEMORY))


def main(descriptor: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # for the server, which closes the socket
    bound_memory()
    with socket.socket(fileno=descriptor) as server:
        while True:
            order, files, _, _ = socket.recv_fds(server, 1, 1)
            if not order:
                return
            try:
                server.send(vet(files[0]))
            finally:
                os.close(files[0])


if __name__ == "__main__":
    main(int(sys.argv[1]))
