"""The threads that take works from the fair queue in batches, bounded, and one more for newcomers."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from math import ceil
from typing import Generic, TypeVar

from speech_server.engines.fair_queue import MUCH, FairQueue, Lane, Work
from speech_server.errors import Busy, ShuttingDown

T = TypeVar("T")
R = TypeVar("R")

_STAND_ASIDE = 1.0  # seconds at most


class Batcher(Generic[T, R]):
    """Calls `step` with batches, on `workers` threads. `step` sets each work's future, or hands it to `put_back`.

    A batch is a worker's fair share of what waits, at most `max_batch` works and about `max_cost`; an idle worker
    starts at once with what is there. While all workers are busy with requests that have received much more, a
    newcomer runs beside them on one more thread.
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
    ) -> None:
        self._step = step
        self._workers = workers
        self._max_batch = max_batch
        self._max_cost = max_cost
        self._max_lanes = max_lanes
        self._lock = threading.Lock()
        self._newcomer_done = threading.Condition(self._lock)
        self._queue: FairQueue[T, R] = FairQueue()
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
            return len(self._queue)

    @property
    def lanes(self) -> int:
        return len(self._queue.lanes)

    def lane(self) -> Lane[T, R]:
        """A place for one request. Raises Busy when too many requests are here already."""
        with self._lock:
            if self._closed:
                raise _unloaded()
            if len(self._queue.lanes) >= self._max_lanes:
                wait = max(1.0, self._lane_seconds)
                raise Busy(f"{len(self._queue.lanes)} requests are already waiting: try again later", retry_after=wait)
            lane: Lane[T, R] = Lane(self._put, self.leave)
            self._queue.lanes.add(lane)
            return lane

    def put_back(self, work: Work[T, R]) -> None:
        """For a step: this work needs another turn, before what its request sent later."""
        self._enter(work, again=True)

    def _put(self, work: Work[T, R]) -> None:
        self._enter(work, again=False)

    def _enter(self, work: Work[T, R], *, again: bool) -> None:
        with self._lock:
            closed = work.lane.closed
            if again and not closed:
                work.lane.waiting.appendleft(work)
            elif not closed:
                work.lane.waiting.append(work)
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
            joined = self._take(batch, lane if first else None)
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
            lanes = list(self._queue.lanes)
        for lane in lanes:
            for work in self._shut(lane):
                if work.start():
                    work.future.set_exception(_unloaded())
        self._pool.shutdown(wait=True)

    def _shut(self, lane: Lane[T, R]) -> deque[Work[T, R]]:
        """Take a lane out; returns what waited in it."""
        with self._lock:
            lane.closed = True
            self._queue.lanes.discard(lane)
            self._lane_seconds += 0.2 * (time.monotonic() - lane.opened - self._lane_seconds)
            dropped, lane.waiting = lane.waiting, deque()
        return dropped

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
            return self._take([], None)
        lane = self._queue.first() if free == 0 else None
        if lane and min(self._running.values()) > lane.served + lane.waiting[0].cost + MUCH:
            self._newcomer = [self._queue.pop(lane)]
            return self._newcomer
        return []

    def _take(self, batch: list[Work[T, R]], exclude: Lane[T, R] | None) -> list[Work[T, R]]:
        share = ceil(len(self._queue) / self._workers)  # the others, busy or not, will be back for theirs
        return self._queue.take(batch, share=share, max_batch=self._max_batch, max_cost=self._max_cost, exclude=exclude)

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
