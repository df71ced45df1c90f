"""One fair, bounded queue of work from many requests, and the threads that take it in batches."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from math import ceil, inf
from typing import Generic, TypeVar

from speech_server.errors import Busy, ShuttingDown

T = TypeVar("T")
R = TypeVar("R")

# A second of waiting weighs as much as this much work already received: bounds how long new requests can go first.
_AGING = 20.0
# Who has received that much more is not a newcomer's equal.
_MUCH = 20.0
_STAND_ASIDE = 1.0  # seconds at most


class Work(Generic[T, R]):
    """One piece of a request. `cost` is in any unit that tells long from short; seconds of audio here."""

    __slots__ = ("cost", "future", "kind", "lane", "payload", "since")

    def __init__(self, lane: Lane[T, R], payload: T, cost: float, kind: Hashable) -> None:
        self.lane = lane
        self.payload = payload
        self.cost = cost
        self.kind = kind  # only works of one kind share a batch
        self.since = time.monotonic()
        self.future: Future[R] = Future()

    @property
    def wanted(self) -> bool:
        """Whether anybody still waits for it; a step asks between its parts."""
        return not self.lane.closed

    def start(self) -> bool:
        return self.future.running() or self.future.set_running_or_notify_cancel()


class Lane(Generic[T, R]):
    """One request's place in the queue. Use as a context manager: leaving it withdraws what is not done."""

    def __init__(self, batcher: Batcher[T, R]) -> None:
        self._batcher = batcher
        self.waiting: deque[Work[T, R]] = deque()
        self.served = 0.0
        self.opened = time.monotonic()
        self.closed = False

    def submit(self, payload: T, cost: float = 1.0, kind: Hashable = None) -> Future[R]:
        work = Work(self, payload, cost, kind)
        self._batcher.put(work)
        return work.future

    def __enter__(self) -> Lane[T, R]:
        return self

    def __exit__(self, *_: object) -> None:
        self._batcher.leave(self)


class Batcher(Generic[T, R]):
    """Calls `step` with batches, on `workers` threads. `step` sets each work's future, or hands it to `put` again.

    The next piece comes from the lane that has received least, long waiting counting in its favour; so a short
    request never waits behind all of a long one, and none starves. A batch is a worker's fair share of what waits,
    at most `max_batch` works and about `max_cost`; an idle worker starts at once with what is there. While all workers
    are busy with requests that have received much more, a newcomer runs beside them on one more thread.
    """

    def __init__(
        self,
        step: Callable[[list[Work[T, R]]], None],
        *,
        name: str,
        workers: int = 1,
        max_batch: int = 1,
        max_cost: float = float("inf"),
        max_lanes: int = 256,
        on_batch: Callable[[int], None] | None = None,
    ) -> None:
        self._step = step
        self._workers = workers
        self._max_batch = max_batch
        self._max_cost = max_cost
        self._max_lanes = max_lanes
        self._on_batch = on_batch
        self._lock = threading.Lock()
        self._newcomer_done = threading.Condition(self._lock)
        self._lanes: set[Lane[T, R]] = set()
        self._running: dict[int, float] = {}  # batch -> least any of its lanes has received, this batch included
        self._newcomer: list[Work[T, R]] | None = None  # the batch on the extra thread
        self._closed = False
        self._pool = ThreadPoolExecutor(workers + 1, thread_name_prefix=name)
        self._lane_seconds = 1.0
        # Gauges.
        self.busy_seconds = 0.0
        self.batches = 0
        self.works_done = 0

    @property
    def waiting(self) -> int:
        with self._lock:
            return self._count_waiting()

    @property
    def lanes(self) -> int:
        return len(self._lanes)

    def lane(self) -> Lane[T, R]:
        """A place for one request. Raises Busy when too many requests are here already."""
        with self._lock:
            if self._closed:
                raise _unloaded()
            if len(self._lanes) >= self._max_lanes:
                wait = max(1.0, self._lane_seconds)
                raise Busy(f"{len(self._lanes)} requests are already waiting: try again later", retry_after=wait)
            lane = Lane(self)
            self._lanes.add(lane)
            return lane

    def put(self, work: Work[T, R]) -> None:
        self._enter(work, again=False)

    def put_back(self, work: Work[T, R]) -> None:
        """For a step: this work needs another turn, before what its request sent later."""
        self._enter(work, again=True)

    def _enter(self, work: Work[T, R], *, again: bool) -> None:
        with self._lock:
            if not (closed := work.lane.closed):
                (work.lane.waiting.appendleft if again else work.lane.waiting.append)(work)
        if not closed:
            self._wake()
        elif not again:  # a work that had a turn is told when that turn ends
            work.future.set_exception(_unloaded())

    def join(self, batch: list[Work[T, R]]) -> list[Work[T, R]]:
        """For a step: works that came meanwhile and may be done together with `batch`; they are added to it."""
        with self._lock:
            if batch is self._newcomer:
                return []
            # The first words of a request come soonest alone: only other requests may join them.
            lane = batch[0].lane
            first = lane.served <= batch[0].cost and all(work.lane is lane for work in batch)
            joined = self._fill((batch[0].kind,), self._share(), batch, lane if first else None)
        joined = [work for work in joined if work.start()]
        batch += joined
        return joined

    def stand_aside(self, batch: list[Work[T, R]]) -> None:
        """For a step, between its parts: leave the machine to a newcomer that runs beside it."""
        with self._lock:
            self._newcomer_done.wait_for(lambda: self._newcomer in (None, batch), _STAND_ASIDE)

    def leave(self, lane: Lane[T, R]) -> None:
        for work in self._shut(lane):
            work.future.cancel()

    def close(self) -> None:
        """Wait for the steps under way; what waits fails with ShuttingDown."""
        with self._lock:
            self._closed = True
            lanes = list(self._lanes)
        for lane in lanes:
            for work in self._shut(lane):
                if work.start():
                    work.future.set_exception(_unloaded())
        self._pool.shutdown(wait=True)

    def _shut(self, lane: Lane[T, R]) -> deque[Work[T, R]]:
        """Take a lane out; returns what waited in it."""
        with self._lock:
            lane.closed = True
            self._lanes.discard(lane)
            self._lane_seconds += 0.2 * (time.monotonic() - lane.opened - self._lane_seconds)
            dropped, lane.waiting = lane.waiting, deque()
        return dropped

    def _share(self) -> int:
        """What one worker may take; the others, busy or not, will be back for theirs."""
        return ceil(self._count_waiting() / self._workers)

    def _count_waiting(self) -> int:
        return sum(len(lane.waiting) for lane in self._lanes)

    def _wake(self) -> None:
        while True:
            with self._lock:
                batch = self._next_batch()
                if not batch:
                    return
                number = self.batches = self.batches + 1
                self._running[number] = min(work.lane.served for work in batch)
                turn = self._pool.submit(self._run, batch)
            turn.add_done_callback(partial(self._finished, number, batch))

    def _next_batch(self) -> list[Work[T, R]]:
        free = self._workers - len(self._running)
        if free > 0:
            return self._fill(None, self._share(), [], None)
        lane = self._first(None, None, inf) if free == 0 else None
        if lane and min(self._running.values()) > lane.served + lane.waiting[0].cost + _MUCH:
            self._newcomer = [self._pop(lane)]
            return self._newcomer
        return []

    def _fill(
        self, kind: tuple[Hashable] | None, share: int, batch: list[Work[T, R]], exclude: Lane[T, R] | None
    ) -> list[Work[T, R]]:
        """Up to `share` works to go with `batch`; the first of an empty batch decides the kind.

        Requests that have received much more stay out: they would delay it.
        """
        taken: list[Work[T, R]] = []
        cost = sum(work.cost for work in batch)
        while len(taken) < share and len(batch) + len(taken) < self._max_batch:
            most = min((work.lane.served for work in (*batch, *taken)), default=inf) + _MUCH
            lane = self._first(kind, exclude, most)
            if lane is None or (cost and cost + lane.waiting[0].cost > self._max_cost):
                break
            work = self._pop(lane)
            kind = (work.kind,)
            cost += work.cost
            taken.append(work)
        return taken

    def _first(self, kind: tuple[Hashable] | None, exclude: Lane[T, R] | None, most: float) -> Lane[T, R] | None:
        """Whose turn it is, among lanes that have received at most that much."""
        ready = [
            lane
            for lane in self._lanes
            if lane.waiting
            and lane is not exclude
            and lane.served <= most
            and (kind is None or lane.waiting[0].kind == kind[0])
        ]
        return min(ready, key=lambda lane: (lane.served + _AGING * lane.waiting[0].since, lane.opened), default=None)

    def _pop(self, lane: Lane[T, R]) -> Work[T, R]:
        work = lane.waiting.popleft()
        lane.served += work.cost
        return work

    def _run(self, batch: list[Work[T, R]]) -> None:
        started = time.monotonic()
        try:
            batch[:] = [work for work in batch if work.start()]
            if batch:
                self._step(batch)
        finally:
            with self._lock:
                self.busy_seconds += time.monotonic() - started
                self.works_done += len(batch)
            if self._on_batch:
                self._on_batch(len(batch))

    def _finished(self, number: int, batch: list[Work[T, R]], turn: Future[None]) -> None:
        with self._lock:
            del self._running[number]
            if batch is self._newcomer:
                self._newcomer = None
                self._newcomer_done.notify_all()
        error = turn.exception()
        for work in batch:
            if not work.future.done() and (error or work.lane.closed):
                work.future.set_exception(error or _unloaded())
        self._wake()


def _unloaded() -> ShuttingDown:
    return ShuttingDown("the model is being unloaded: send the request again")
