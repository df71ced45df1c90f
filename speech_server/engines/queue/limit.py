"""How many works a batch may have, as far as memory has shown: fewer where it ran out, more again by and by."""

from __future__ import annotations

import time
from collections.abc import Callable

# What took the memory may have gone: another model's load, another program. To find out costs one batch done twice.
_PATIENCE = 600.0  # seconds until a batch may be twice as large again


class BatchLimit:
    """At most `most`."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = self._learned = most
        self._clock = clock
        self._since = clock()

    @property
    def now(self) -> int:
        doublings = int((self._clock() - self._since) / _PATIENCE)
        return min(self._most, self._learned << min(doublings, self._most.bit_length()))

    def too_many(self, works: int) -> int:
        """A batch of so many found no memory; returns what is allowed from now on."""
        self._learned = max(1, min(self.now, works // 2))
        self._since = self._clock()
        return self._learned
