"""Asks a server whether it is alive, from a thread of its own: alive means that it answered lately."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable

QUESTIONS = 3  # in a row without an answer: the server is lost
_START_PATIENCE = 5.0  # seconds for one question while it starts
_FIRST_PAUSE = 0.02  # seconds between questions to a server that starts; a start is worth a prompt answer
_LATER_PAUSE = 0.2
_LONGEST_STATUS_LINE = 4096
_NOT_YET = frozenset((425, 429, 502, 503, 504))  # with all of 2xx but 200: it will be ready, it says


class Pulse:
    """Questions to one run of the server, from its spawn on. `on_news` is called, in the thread, when one of these
    changes: `ready` (it answered 200 once), `lost` (it was ready, and has not answered since).

    Unanswered questions are counted, not seconds: after both were frozen together (a paused container, a snapshot)
    the clock says that the server was silent for long, and nobody has asked it.
    """

    def __init__(self, host: str, port: int, path: str, on_news: Callable[[], None], interval: float, silence: float):
        """`interval` is seconds between questions to a server that is ready, `silence` how long it may be silent: 0
        asks it nothing more."""
        self._address, self._path = (host, port), path
        self._on_news = on_news
        self._interval, self._patience = interval, silence / QUESTIONS
        self.ready = self.lost = False
        self.wrong_status = 0  # of the last answer, where it says neither "ready" nor "not yet"
        self._wrong_since = 0.0
        self._answered_at = time.monotonic()
        self._stopped = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._ask_on, name="server-pulse", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    def silent_for(self) -> float:
        """Seconds since its last answer."""
        return time.monotonic() - self._answered_at

    def wrong_for(self) -> float:
        """Seconds for which it has been answering, but never as a server does that is getting ready."""
        return time.monotonic() - self._wrong_since if self.wrong_status else 0.0

    def _ask_on(self) -> None:
        self._until_ready()
        if self._stopped.is_set():
            return
        self._on_news()
        missed = 0
        while self._patience and missed < QUESTIONS and not self._stopped.wait(0 if missed else self._interval):
            asked = time.monotonic()
            if ask(self._address, self._path, self._patience) is not None:
                self._answered_at, missed = time.monotonic(), 0
                continue
            missed += 1
            self._stopped.wait(max(0.0, asked + self._patience - time.monotonic()))  # a refusal comes at once
        if missed == QUESTIONS:
            self.lost = True
            self._on_news()

    def _until_ready(self) -> None:
        began = time.monotonic()
        while not self._stopped.is_set():
            status = ask(self._address, self._path, _START_PATIENCE)
            if status is not None:
                self._answered_at = time.monotonic()
                self._judge(status)
            if self.ready:
                return
            self._stopped.wait(_FIRST_PAUSE if time.monotonic() - began < 10 else _LATER_PAUSE)

    def _judge(self, status: int) -> None:
        if 200 <= status < 300 or status in _NOT_YET:
            self.ready, self.wrong_status = status == 200, 0
            return
        if not self.wrong_status:
            self._wrong_since = self._answered_at
        self.wrong_status = status


def ask(address: tuple[str, int], path: str, limit: float) -> int | None:
    """The status that `GET path` is answered with; None where no status line came within `limit` seconds."""
    deadline = time.monotonic() + limit
    request = f"GET {path} HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    said = b""
    try:
        with socket.create_connection(address, timeout=limit) as connection:
            connection.sendall(request.encode())
            while b"\n" not in said:
                connection.settimeout(max(deadline - time.monotonic(), 0.001))  # a byte a second is no answer
                block = connection.recv(_LONGEST_STATUS_LINE)
                if not block or len(said) > _LONGEST_STATUS_LINE:
                    return None
                said += block
    except OSError:
        return None
    found = re.match(rb"HTTP/1\.[01] (\d{3})\b", said)
    return int(found[1]) if found else None
