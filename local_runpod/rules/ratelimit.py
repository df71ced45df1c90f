"""The documented request rates. Pure: the clock is passed in."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from local_runpod.errors import TooMany

# Requests per 10 seconds, by operation.
RATES = {
    "run": 1000,
    "runsync": 2000,
    "status": 2000,
    "stream": 2000,
    "openai": 2000,
    "cancel": 100,
    "retry": 100,
    "health": 2000,
    "requests": 10,
    "purge-queue": 2,
}
WINDOW = 10.0


class RateLimiter:
    def __init__(self, clock: Callable[[], float], rates: dict[str, int]) -> None:
        self._clock = clock
        self._rates = rates
        self._seen: dict[str, deque[float]] = {operation: deque() for operation in rates}

    def count(self, operation: str) -> None:
        """Raises TooMany when the window of this operation is full."""
        if operation not in self._rates:
            return
        seen, now = self._seen[operation], self._clock()
        while seen and now - seen[0] >= WINDOW:
            seen.popleft()
        if len(seen) >= self._rates[operation]:
            raise TooMany(f"over {self._rates[operation]} {operation} requests in {WINDOW:.0f} s")
        seen.append(now)
