"""The queue as a state machine: whatever steps, requests and threads do, every work ends once and nothing is left."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, precondition, rule

from speech_server.engines.queue.batching import Batcher
from speech_server.engines.queue.fair_queue import Lane, Work
from speech_server.errors import Busy, ShuttingDown, ThreadsExhausted

LIMIT = 10  # seconds any wait here may take
MOST_LANES = 5

# What a work does on its turns; after the last it is done. "fail" and "exit" raise whenever they are tried, "shy" in
# company only.
TURNS = st.lists(st.sampled_from(["again", "aside", "shy", "fail", "exit"]), max_size=3)
WORKS = st.lists(st.tuples(TURNS, st.sampled_from([1.0, 20.0, 90.0]), st.sampled_from("ab")), min_size=1, max_size=4)


_numbers = itertools.count()


@dataclass(eq=False)
class Sent:
    turns: list[str]
    lane: Lane[Sent, str]
    future: Future[str] | None = None
    withdrawn: bool = False

    def __post_init__(self) -> None:
        self.is_good = not {"fail", "exit"} & set(self.turns)


class Queue(RuleBasedStateMachine):
    lanes = Bundle("lanes")

    def __init__(self) -> None:
        super().__init__()
        self.name = f"machine{next(_numbers)}"
        self.gate = threading.Event()
        self.gate.set()
        self.twice: list[Sent] = []
        self.sent: list[Sent] = []
        self.here: list[Lane[Sent, str]] = []
        self.open()

    def open(self) -> None:
        self.batcher: Batcher[Sent, str] = Batcher(
            self.step, name=self.name, workers=2, max_batch=4, max_cost=60, max_lanes=MOST_LANES
        )

    def step(self, batch: list[Work[Sent, str]]) -> None:
        assert self.gate.wait(LIMIT)
        self.batcher.join(batch)
        self.batcher.stand_aside(batch)
        if len(batch) > 1 and any(work.payload.turns[:1] == ["shy"] for work in batch):
            raise MemoryError("of the whole batch")
        for work in batch:
            self.turn(work)

    def turn(self, work: Work[Sent, str]) -> None:
        turns = work.payload.turns
        while turns[:1] == ["shy"]:  # there is no company
            turns.pop(0)
        if turns[:1] == ["fail"]:
            raise ValueError("fail")
        if turns[:1] == ["exit"]:
            raise SystemExit
        turn = turns.pop(0) if turns else "done"
        if turn == "again":
            self.batcher.put_back(work)
        elif turn == "aside":
            self.batcher.set_aside(work)
        else:
            try:
                work.future.set_result("done")
            except InvalidStateError:
                self.twice.append(work.payload)

    # --- requests ---

    @initialize(target=lanes)
    def come_together(self) -> object:
        self.here = [self.batcher.lane() for _ in range(3)]
        return multiple(*self.here)

    @rule(target=lanes)
    def come(self) -> object:
        try:
            self.here.append(self.batcher.lane())
        except Busy:
            assert len(self.here) == MOST_LANES
            return multiple()
        return self.here[-1]

    @rule(lane=lanes, works=WORKS)
    def send(self, lane: Lane[Sent, str], works: list[tuple[list[str], float, str]]) -> None:
        for turns, cost, kind in works:
            sent = Sent(list(turns), lane, withdrawn=lane.closed)
            sent.future = lane.submit(sent, cost, kind)
            self.sent.append(sent)

    @rule(works=WORKS)
    def send_from_all(self, works: list[tuple[list[str], float, str]]) -> None:
        """While the engine is busy, so that they share batches."""
        self.gate.clear()
        for lane in self.here:
            self.send(lane, works)
        self.gate.set()

    @rule(lane=lanes)
    def leave(self, lane: Lane[Sent, str]) -> None:
        self.withdraw(lambda sent: sent.lane is lane)
        self.batcher.leave(lane)
        self.here = [other for other in self.here if other is not lane]

    @rule(lane=lanes)
    def leave_what_is_set_aside(self, lane: Lane[Sent, str]) -> None:
        self.gate.set()
        self.send(lane, [(["aside"], 1.0, "a")])
        deadline = time.monotonic() + LIMIT
        while not (lane.aside or lane.closed):
            assert time.monotonic() < deadline
            time.sleep(0.001)
        self.leave(lane)

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        number = data.draw(st.integers(0, len(self.sent) - 1))
        self.withdraw(lambda sent: sent is self.sent[number])
        self.sent[number].future.cancel()

    def withdraw(self, which: Callable[[Sent], bool]) -> None:
        for sent in self.sent:
            sent.withdrawn = sent.withdrawn or which(sent)

    # --- the engine ---

    @rule()
    def hold_up(self) -> None:
        self.gate.clear()

    @rule()
    def go_on(self) -> None:
        self.gate.set()

    @rule(lane=lanes)
    def call_back(self, lane: Lane[Sent, str]) -> None:
        self.batcher.call_back(lane)

    @rule()
    def settle(self) -> None:
        """Everything that was sent ends, as it must, and the threads wait for more."""
        self.gate.set()
        deadline = time.monotonic() + LIMIT
        while not all(sent.future.done() for sent in self.sent):
            assert time.monotonic() < deadline, "a work never ended"
            for lane in self.here:
                self.batcher.call_back(lane)
            time.sleep(0.001)
        while self.batcher._running:
            assert time.monotonic() < deadline, "a worker never came back"
            time.sleep(0.001)
        assert (self.batcher.waiting, self.batcher.step_seconds) == (0, 0)
        for sent in self.sent:
            if sent.withdrawn:
                continue
            error = sent.future.exception()
            assert error is None if sent.is_good else isinstance(error, ValueError | RuntimeError)
        self.sent.clear()

    @rule()
    def close_and_open_again(self) -> None:
        self.withdraw(lambda sent: True)
        self.gate.set()
        self.batcher.close()
        assert all(sent.future.done() for sent in self.sent)
        assert alive(f"{self.name}_") == []
        with pytest.raises(ShuttingDown):
            self.batcher.lane()
        self.here.clear()
        self.open()

    @rule(allowed=st.integers(0, 2))
    def fail_to_open_another(self, allowed: int) -> None:
        start, left = threading.Thread.start, iter(range(allowed))

        def limited(thread: threading.Thread) -> None:
            if thread.name.startswith("refused_") and next(left, None) is None:
                raise RuntimeError("can't start new thread")
            start(thread)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(threading.Thread, "start", limited)
            with pytest.raises(ThreadsExhausted):
                Batcher(self.step, name="refused", workers=2)
        assert alive("refused_") == []

    @invariant()
    def nothing_leaks(self) -> None:
        assert self.batcher.lanes == len(self.here)
        assert len(self.batcher._running) <= 3
        assert len(alive(f"{self.name}_")) == 3
        assert self.twice == []

    def teardown(self) -> None:
        self.settle()
        lane = self.batcher.lane() if len(self.here) < MOST_LANES else self.here[0]
        assert lane.submit(Sent([], lane)).result(LIMIT) == "done"  # whatever went before, the next one works
        self.batcher.close()
        assert alive(f"{self.name}_") == []


def alive(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith(name)]


TestQueue = Queue.TestCase
TestQueue.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, derandomize=True, database=None, print_blob=False
)
