"""The cores as places: of all engines' steps so many run at once, and who has received least goes next."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from speech_server.engines.cores import core_count
from speech_server.engines.queue.fair_queue import AGING


class Turnstile:
    """An engine's threads are as many as the cores; two engines' would be twice as many, and each step twice as long.

    Nobody waits longer than the steps before it take; the watchdog ends the server where one never does.
    """

    def __init__(self, places: int) -> None:
        self._free = places
        self._changed = threading.Condition()
        self._line: list[tuple[float, int]] = []
        self._arrivals = itertools.count()

    @contextmanager
    def place(self, served: float) -> Iterator[None]:
        """`served`: what the request has received, in the unit of the fair queue's costs."""
        ticket = (served + AGING * time.monotonic(), next(self._arrivals))
        with self._changed:
            heapq.heappush(self._line, ticket)
            self._changed.wait_for(lambda: self._free > 0 and self._line[0] == ticket)
            heapq.heappop(self._line)
            self._free -= 1
            self._changed.notify_all()  # there may be a place for the next, too
        try:
            yield
        finally:
            self._leave()

    @contextmanager
    def extra_place(self) -> Iterator[None]:
        """For who need not wait: those in line wait for one step more."""
        with self._changed:
            self._free -= 1
        try:
            yield
        finally:
            self._leave()

    def _leave(self) -> None:
        with self._changed:
            self._free += 1
            self._changed.notify_all()


CORES = Turnstile(core_count())
