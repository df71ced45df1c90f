"""The threads that take works from the fair queue in batches, bounded, and one more for newcomers."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from math import ceil, inf
from typing import Generic, TypeVar

from speech_server.engines.faults import explain
from speech_server.engines.queue.fair_queue import MUCH, Batch, FairQueue, Lane, Work
from speech_server.engines.queue.limit import BatchLimit
from speech_server.engines.queue.outcomes import Outcome, end_spans, fail, told
from speech_server.engines.queue.standing import STANDING
from speech_server.engines.queue.threads import start_threads
from speech_server.engines.queue.turnstile import Turnstile
from speech_server.errors import Busy, DeviceFailed, OutOfMemory, ShuttingDown, SpeechError, ThreadsExhausted

T = TypeVar("T")
R = TypeVar("R")

log = logging.getLogger(__name__)
_STAND_ASIDE = 1.0  # seconds at most


class Batcher(Generic[T, R]):
    """Calls `step` with batches, on `workers` threads. `step` sets each work's future, or hands the work to `put_back`
    or `set_aside`.

    A batch is a worker's fair share of what waits, at most `max_batch` works and about `max_cost`; an idle worker
    starts at once with what is there. While all workers are busy with requests that have received much more, a
    newcomer runs beside them on one more thread. A `turnstile` is shared with other engines on the same cores.

    Where a step raises, what it left undone is done again, each work in a batch of its own: it fails only by its own
    fault. Where it finds no memory, batches are half as large from then on, down to one; what finds none alone, when
    those beside it are done, fails with OutOfMemory. Where the device is lost all fails, and `fault` says why.

    The threads start here (ThreadsExhausted when they cannot) and take their batches themselves: there is no step
    between a work's place in the queue and its turn that could fail and lose it.
    """

    def __init__(
        self,
        step: Callable[[list[Work[T, R]]], None],
        *,
        name: str,
        workers: int = 1,
        max_batch: int = 1,
        max_cost: float = inf,
        max_lanes: int = 256,
        turnstile: Turnstile | None = None,
    ) -> None:
        self._step = step
        self._name = name
        self._workers = workers
        self._limit = BatchLimit(max_batch)
        self._max_cost = max_cost
        self._max_lanes = max_lanes
        self._turnstile = turnstile
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._batch_done = threading.Condition(self._lock)
        self._queue: FairQueue[T, R] = FairQueue()
        self._running: dict[int, Batch[T, R]] = {}  # by thread
        self._newcomer: Batch[T, R] | None = None  # the batch beside the workers'
        self._closed = False
        self.fault: DeviceFailed | None = None
        self._lane_seconds = 1.0
        # Gauges.
        self.busy_seconds = 0.0
        self.batches = self.works_done = 0
        # Daemons: an engine that nobody closed does not keep the process.
        self._threads = [
            threading.Thread(target=self._work, args=(number,), name=f"{name}_{number}", daemon=True)
            for number in range(workers + 1)
        ]
        try:
            start_threads(self._threads, name)
        except ThreadsExhausted:
            self.close()
            raise

    @property
    def waiting(self) -> int:
        with self._lock:
            return len(self._queue)

    @property
    def lanes(self) -> int:
        return len(self._queue.lanes)

    @property
    def step_seconds(self) -> float:
        with self._lock:
            return max((time.monotonic() - batch.since for batch in self._running.values()), default=0.0)

    def lane(self) -> Lane[T, R]:
        """A place for one request. Raises Busy when too many requests are here already."""
        with self._lock:
            if self._closed or self.fault:
                raise self._gone()
            if len(self._queue.lanes) >= self._max_lanes:
                wait = max(1.0, self._lane_seconds)
                raise Busy(f"{len(self._queue.lanes)} requests are already waiting: try again later", retry_after=wait)
            lane: Lane[T, R] = Lane(self._put, self.leave, STANDING.debt())
            self._queue.lanes.add(lane)
            return lane

    def _put(self, work: Work[T, R]) -> None:
        with self._lock:
            if not work.lane.closed:
                work.lane.waiting.append(work)
                self._wake()
                return
        fail(work, self._gone())

    # --- for steps ---

    def put_back(self, work: Work[T, R]) -> None:
        """This work needs another turn, before what its request sent later."""
        with self._lock:
            if not work.lane.closed:  # else it is told when its turn ends
                work.put_down()
                work.lane.waiting.appendleft(work)
                self._wake()

    def set_aside(self, work: Work[T, R]) -> None:
        """This work cannot go on before `call_back` is called for its lane."""
        with self._lock:
            if not work.lane.closed:
                work.put_down()
                work.lane.aside.append(work)

    def call_back(self, lane: Lane[T, R]) -> None:
        """What was set aside gets another turn, in its order, before what the request sent later."""
        with self._lock:
            lane.waiting.extendleft(reversed(lane.aside))
            lane.aside.clear()
            self._wake()

    def join(self, batch: list[Work[T, R]]) -> list[Work[T, R]]:
        """Works that came meanwhile and may be done together with `batch`; they are added to it."""
        with self._lock:
            if batch is self._newcomer:
                return []
            # The first words of a request come soonest alone: only other requests may join them.
            lane = batch[0].lane
            first = lane.served <= batch[0].cost and all(work.lane is lane for work in batch)
            joined = self._take(batch, lane if first else None)
        for work in [work for work in joined if not work.start(self._name)]:
            joined.remove(work)
            batch.remove(work)
        return joined

    def stand_aside(self, batch: list[Work[T, R]]) -> None:
        """Between a step's parts: leave the machine to a newcomer that runs beside it."""
        with self._lock:
            self._batch_done.wait_for(lambda: not self._has_newcomer(batch), _STAND_ASIDE)

    def _has_newcomer(self, batch: list[Work[T, R]]) -> bool:
        """Whether one runs beside `batch`, or is about to."""
        beside = self._newcomer is not None and self._newcomer is not batch
        return beside or (len(self._running) == self._workers and self._is_due())

    # --- leaving ---

    def leave(self, lane: Lane[T, R]) -> None:
        for work in self._shut(lane):
            if not work.future.cancel():  # it has had a turn
                fail(work, self._gone())

    def close(self) -> None:
        """Wait for the steps under way; what waits fails with ShuttingDown."""
        with self._lock:
            self._closed = True
            self._idle.notify_all()
        self._dismiss()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def _dismiss(self) -> None:
        """What waits fails."""
        with self._lock:
            lanes = list(self._queue.lanes)
        for lane in lanes:
            for work in self._shut(lane):
                fail(work, self._gone())

    def _gone(self) -> SpeechError:
        return self.fault or ShuttingDown("the model is being unloaded: send the request again")

    def _shut(self, lane: Lane[T, R]) -> list[Work[T, R]]:
        """Take a lane out; returns what waited in it."""
        with self._lock:
            lane.closed = True
            self._queue.lanes.discard(lane)
            self._lane_seconds += 0.2 * (time.monotonic() - lane.opened - self._lane_seconds)
            dropped = [*lane.waiting, *lane.aside]
            lane.waiting.clear()
            lane.aside.clear()
            self._wake()  # it may have stood before a newcomer
        return dropped

    # --- turns ---

    def _wake(self) -> None:
        if self._is_due():
            self._idle.notify()

    def _is_due(self) -> bool:
        """Whether an idle thread should begin."""
        free = self._workers - len(self._running)
        if free:
            return free > 0 and any(lane.waiting for lane in self._queue.lanes)
        lane = self._queue.first()
        least = min(batch.least for batch in self._running.values())
        return lane is not None and least > lane.served + lane.waiting[0].cost + MUCH

    def _work(self, number: int) -> None:
        """What each thread does until the queue is closed."""
        while True:
            batch: Batch[T, R] = Batch()
            with Outcome() as outcome:
                if not self._begin(number, batch):
                    return
                with self._place(batch):
                    batch[:] = [work for work in batch if work.start(self._name)]
                    if batch:
                        self._step(batch)
            self._end(number, batch, outcome.error)

    def _place(self, batch: Batch[T, R]) -> AbstractContextManager[None]:
        """The right to a core, where there are no more of them than steps. A newcomer does not wait for it."""
        if batch is self._newcomer and self._turnstile:
            return self._turnstile.extra_place()
        served = min(work.lane.served - work.cost for work in batch)
        return self._turnstile.place(served) if self._turnstile else nullcontext()

    def _begin(self, number: int, batch: Batch[T, R]) -> bool:
        """Wait for works and take them. False: closed."""
        with self._lock:
            while not self._is_due():
                if self._closed:
                    return False
                self._idle.wait()
            newcomer = len(self._running) == self._workers and self._queue.first()
            self._running[number] = batch
            if newcomer:
                self._newcomer = batch
                self._queue.pop(newcomer, batch)
            else:
                self._take(batch, None)
            batch.least = min(work.lane.served for work in batch)
            batch.since = time.monotonic()
            self.batches += 1
            self._wake()
        return True

    def _take(self, batch: list[Work[T, R]], exclude: Lane[T, R] | None) -> list[Work[T, R]]:
        share = ceil(len(self._queue) / self._workers)  # the others, busy or not, will be back for theirs
        return self._queue.take(batch, share=share, max_batch=self._limit.now, max_cost=self._max_cost, exclude=exclude)

    def _end(self, number: int, batch: Batch[T, R], error: BaseException | None) -> None:
        error = explain(error) or error
        end_spans(batch, error)
        with self._lock:
            self._running.pop(number, None)
            if batch is self._newcomer:
                self._newcomer = None
            self._batch_done.notify_all()
            self.busy_seconds += time.monotonic() - batch.since
            self.works_done += len(batch)
            undone = [work for work in batch if work.turn is batch and not work.future.done()]
            if isinstance(error, DeviceFailed):
                self.fault = error
            elif isinstance(error, OutOfMemory):
                self._make_smaller(batch, undone, error)
            elif error and len(batch) > 1:
                self._queue.put_again(undone, alone=True)
        if self.fault:
            self._dismiss()
        for work in undone:
            if work.turn is batch:
                fail(work, self._gone() if work.lane.closed else told(error))

    def _make_smaller(self, batch: Batch[T, R], undone: list[Work[T, R]], error: OutOfMemory) -> None:
        beside = dict(self._running)
        largest = len(batch) if len(batch) > 1 else max(map(len, beside.values()), default=1)
        if largest > 1:
            log.warning("%s: %d at once, now %d: %s", self._name, largest, self._limit.too_many(largest), error.message)
        if len(batch) > 1:
            self._queue.put_again(undone)
        elif undone and not undone[0].alone:
            self._batch_done.wait_for(lambda: not any(self._running.get(one) is beside[one] for one in beside))
            self._queue.put_again(undone, alone=True)
