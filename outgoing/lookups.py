"""Names -> addresses, on threads of their own: a name server that does not answer holds up nothing else.

getaddrinfo cannot be interrupted (glibc asks each server twice, 5 s each), so whoever waits goes away after a limit and
the thread stays until it returns. Their number is bounded, and they are daemons: no process waits for them to end.
"""

from __future__ import annotations

import socket
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future

THREADS = 32
NAME = "look-up"  # of the threads

LookUp = Callable[[str, int], Sequence[str]]


def system_look_up(host: str, port: int) -> Sequence[str]:
    """What the system says. Raises OSError, ValueError."""
    return [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


class LookUps:
    """At most `threads` names are looked up at once; the others wait in line, for as long as their callers do."""

    def __init__(self, threads: int = THREADS) -> None:
        self._lock = threading.Lock()
        self._line: deque[tuple[Future[Sequence[str]], LookUp, str, int]] = deque()
        self._threads = threads
        self._running = 0

    def submit(self, look_up: LookUp, host: str, port: int) -> Future[Sequence[str]]:
        """Cancelling the future takes the name out of the line. Raises RuntimeError where no thread can be had."""
        future: Future[Sequence[str]] = Future()
        with self._lock:
            self._line.append((future, look_up, host, port))
            if self._running < self._threads:
                self._start()
        return future

    def _start(self) -> None:
        thread = threading.Thread(target=self._work, name=NAME, daemon=True)
        try:
            thread.start()
        except RuntimeError:
            if self._running:  # they will come to it
                return
            self._line.pop()
            raise
        self._running += 1

    def _work(self) -> None:
        try:
            while waiting := self._next():
                future, look_up, host, port = waiting
                if not future.set_running_or_notify_cancel():
                    continue
                try:
                    future.set_result(look_up(host, port))
                except (OSError, ValueError) as error:  # UnicodeError is a ValueError
                    future.set_exception(error)
        except BaseException:
            with self._lock:
                self._running -= 1
            raise

    def _next(self) -> tuple[Future[Sequence[str]], LookUp, str, int] | None:
        """None ends the thread that asks."""
        with self._lock:
            if self._line:
                return self._line.popleft()
            self._running -= 1
            return None


lookups = LookUps()
