"""Who hung up on the server lately waits behind those who did not: work that nobody takes is what hurts others most."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from contextvars import ContextVar

# Who asks, as far as it is known: an address. Set where requests come in, read where their work is queued.
caller: ContextVar[str] = ContextVar("caller", default="")

_PRICE = 30.0  # of one hang-up, in the unit of the fair queue's costs: as much as a request with 30 s of sound more
_MOST = 300.0  # a debt; with AGING, the longest wait that it can mean is 15 s
_HALF_LIFE = 10.0  # seconds
_CALLERS = 1024  # remembered, the latest


class Standing:
    """Debts of callers, forgotten by and by. Belongs to one event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._debts: OrderedDict[str, tuple[float, float]] = OrderedDict()  # and when it was so much

    def debt(self) -> float:
        """What the caller's next request counts as having received already."""
        amount, since = self._debts.get(caller.get(), (0.0, 0.0))
        return amount * math.exp2((since - self._clock()) / _HALF_LIFE)

    def hang_up(self) -> None:
        """The caller left before it was answered."""
        amount = min(_MOST, self.debt() + _PRICE)
        self._debts[caller.get()] = amount, self._clock()
        self._debts.move_to_end(caller.get())
        while len(self._debts) > _CALLERS:
            self._debts.popitem(last=False)


STANDING = Standing()
