"""Whose turn it is: works of many requests, in an order that is fair to short and long ones. No threads here."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from math import inf
from typing import Generic, TypeVar

from outgoing import tracing

T = TypeVar("T")
R = TypeVar("R")

# A second of waiting weighs as much as this much work already received: bounds how long new requests can go first.
AGING = 20.0
# Who has received that much more is not a newcomer's equal.
MUCH = 20.0


class Work(Generic[T, R]):
    """One piece of a request. `cost` is in any unit that tells long from short: seconds of audio, characters / 10.

    Only works of one `kind` share a batch.
    """

    __slots__ = ("alone", "cost", "future", "kind", "lane", "payload", "place", "ready", "since", "span", "turn")

    def __init__(self, lane: Lane[T, R], payload: T, cost: float, kind: Hashable) -> None:
        self.lane = lane
        self.payload = payload
        self.cost = cost
        self.kind = kind
        self.since = time.monotonic()
        self.future: Future[R] = Future()
        self.alone = False  # it failed in a turn, and its next is the last
        self.turn: list[Work[T, R]] | None = None  # the batch it is in: whoever runs that answers for its future
        self.place = tracing.here()  # of its request, in that one's trace
        self.span = tracing.SILENT  # its turn
        self.ready = self.since  # when it began to wait for that

    @property
    def wanted(self) -> bool:
        """Whether anybody still waits for it; a step asks between its parts."""
        return not self.lane.closed

    def start(self, engine: str) -> bool:
        """False for what was cancelled, or failed with its batch."""
        if self.future.done() or not (self.future.running() or self.future.set_running_or_notify_cancel()):
            return False
        tracing.begin("queue", self.place, ago=time.monotonic() - self.ready).end()
        self.span = tracing.begin(engine, self.place)
        return True

    def rest(self) -> None:
        """Its turn is over."""
        self.span.end()
        self.span = tracing.SILENT
        self.ready = time.monotonic()

    def put_down(self) -> None:
        """Its turn went well, and it needs another: nobody answers for its future until then."""
        self.rest()
        self.turn = None
        self.alone = False


class Batch(list[Work[T, R]]):
    """Works that share a turn. `least`: what any of their lanes has received, this batch included."""

    def __init__(self) -> None:
        super().__init__()
        self.least = inf
        self.since = time.monotonic()


class Lane(Generic[T, R]):
    """One request's place in the queue. Use as a context manager: leaving it withdraws what is not done."""

    def __init__(
        self, put: Callable[[Work[T, R]], None], leave: Callable[[Lane[T, R]], None], served: float = 0.0
    ) -> None:
        self._put = put
        self._leave = leave
        self.waiting: deque[Work[T, R]] = deque()
        self.aside: list[Work[T, R]] = []  # what a step set aside until it is called back
        self.served = served  # what its works cost that had their turn, above what it began with
        self.opened = time.monotonic()
        self.closed = False

    def submit(self, payload: T, cost: float = 1.0, kind: Hashable = None) -> Future[R]:
        work = Work(self, payload, cost, kind)
        self._put(work)
        return work.future

    def __enter__(self) -> Lane[T, R]:
        return self

    def __exit__(self, *_: object) -> None:
        self._leave(self)


class FairQueue(Generic[T, R]):
    """The lanes of all requests. The next work is from the lane that has received least, waiting counted in."""

    def __init__(self) -> None:
        self.lanes: set[Lane[T, R]] = set()

    def __len__(self) -> int:
        return sum(len(lane.waiting) for lane in self.lanes)

    def first(
        self, kind: tuple[Hashable] | None = None, exclude: Lane[T, R] | None = None, most: float = inf
    ) -> Lane[T, R] | None:
        """Whose turn it is, among lanes whose next work is of that kind and that have received at most `most`."""
        ready = [
            lane
            for lane in self.lanes
            if lane.waiting
            and lane is not exclude
            and lane.served <= most
            and (kind is None or lane.waiting[0].kind == kind[0])
        ]
        return min(ready, key=lambda lane: (lane.served + AGING * lane.waiting[0].since, lane.opened), default=None)

    def pop(self, lane: Lane[T, R], batch: list[Work[T, R]]) -> Work[T, R]:
        """Move a lane's next work into `batch`, at once: it is always in one place."""
        work = lane.waiting.popleft()
        lane.served += work.cost
        work.turn = batch
        batch.append(work)
        return work

    def put_again(self, works: Sequence[Work[T, R]], *, alone: bool = False) -> None:
        """Works whose turn failed get another, before what their requests sent later; `alone`, one more and the last:
        it may have been another's fault."""
        for work in reversed(works):
            if not work.lane.closed:
                if alone:
                    work.alone, work.kind = True, object()  # no other is of this kind
                work.turn = None
                work.lane.served -= work.cost
                work.lane.waiting.appendleft(work)

    def take(
        self,
        batch: list[Work[T, R]],
        *,
        share: int,
        max_batch: int,
        max_cost: float,
        exclude: Lane[T, R] | None = None,
    ) -> list[Work[T, R]]:
        """Add up to `share` works to `batch` and return them; the first of an empty batch decides the kind.

        Requests that have received much more stay out: they would delay it.
        """
        before = len(batch)
        cost = sum(work.cost for work in batch)
        while len(batch) < min(before + share, max_batch):
            kind = (batch[0].kind,) if batch else None
            most = min((work.lane.served for work in batch), default=inf) + MUCH
            lane = self.first(kind, exclude, most)
            if lane is None or (batch and cost + lane.waiting[0].cost > max_cost):
                break
            cost += self.pop(lane, batch).cost
        return batch[before:]
