"""The queue is fair, bounded, gives batches to those who have work, and forgets who leaves.

What happens when things fail is in test_batching_failures.py.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speech_server.engines.queue.batching import Batcher
from speech_server.engines.queue.fair_queue import Lane, Work
from speech_server.errors import Busy, ShuttingDown

LIMIT = 10  # seconds any wait here may take


class Kitchen:
    """Steps that stop until the test lets them go on, and a record of what was done in which order."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.open = threading.Event()
        self.entered = threading.Semaphore(0)
        self.also: Callable[[list[Work[str, str]]], object] = lambda batch: None

    def step(self, batch: list[Work[str, str]]) -> None:
        self.entered.release()
        assert self.open.wait(LIMIT)
        self.also(batch)
        self.batches.append([work.payload for work in batch])
        for work in batch:
            work.future.set_result(work.payload.upper())

    @property
    def order(self) -> list[str]:
        return [payload for batch in self.batches for payload in batch]


@pytest.fixture
def kitchen() -> Kitchen:
    return Kitchen()


def occupy(batcher: Batcher[str, str], kitchen: Kitchen, name: str = "first", cost: float = 1.0) -> Lane[str, str]:
    """A lane whose work keeps one worker busy until the kitchen opens."""
    lane = batcher.lane()
    lane.submit(name, cost)
    assert kitchen.entered.acquire(timeout=LIMIT)
    return lane


def finish(batcher: Batcher[str, str], kitchen: Kitchen, *futures: Future[str]) -> None:
    kitchen.open.set()
    assert not wait(futures, LIMIT).not_done
    batcher.close()


def test_an_idle_worker_starts_at_once_and_alone(kitchen: Kitchen):
    kitchen.open.set()
    batcher = Batcher(kitchen.step, name="t", max_batch=8)
    assert batcher.lane().submit("a").result(LIMIT) == "A"
    assert kitchen.batches == [["a"]]
    batcher.close()


def test_what_waits_is_done_together(kitchen: Kitchen):
    batcher = Batcher(kitchen.step, name="t", max_batch=8)
    occupy(batcher, kitchen)
    futures = [batcher.lane().submit(name) for name in "abcde"]
    finish(batcher, kitchen, *futures)
    assert kitchen.batches == [["first"], list("abcde")]


def test_a_batch_is_a_worker_s_fair_share(kitchen: Kitchen):
    batcher = Batcher(kitchen.step, name="t", workers=2, max_batch=8)
    occupy(batcher, kitchen)
    occupy(batcher, kitchen, "second")
    futures = [batcher.lane().submit(name) for name in "abcdef"]
    finish(batcher, kitchen, *futures)
    assert max(map(len, kitchen.batches)) <= 6
    assert sum(map(len, kitchen.batches)) == 8
    assert len(kitchen.batches) >= 3


def test_a_batch_has_bounds_in_number_and_cost(kitchen: Kitchen):
    batcher = Batcher(kitchen.step, name="t", max_batch=3, max_cost=50)
    occupy(batcher, kitchen)
    futures = [batcher.lane().submit(f"{number}", cost=20) for number in range(4)]
    futures += [batcher.lane().submit(f"{number}", cost=1) for number in range(4, 9)]
    finish(batcher, kitchen, *futures)
    assert kitchen.batches[1:] == [["0", "1"], ["2", "3", "4"], ["5", "6", "7"], ["8"]]


def test_a_work_larger_than_the_bound_still_goes_alone(kitchen: Kitchen):
    kitchen.open.set()
    batcher = Batcher(kitchen.step, name="t", max_batch=3, max_cost=50)
    assert batcher.lane().submit("long", cost=500).result(LIMIT) == "LONG"
    batcher.close()


def test_only_one_kind_shares_a_batch(kitchen: Kitchen):
    batcher = Batcher(kitchen.step, name="t", max_batch=8)
    occupy(batcher, kitchen)
    futures = [batcher.lane().submit(name, kind=name.isupper()) for name in "aBcDe"]
    finish(batcher, kitchen, *futures)
    assert kitchen.batches[1:] == [["a", "c", "e"], ["B", "D"]]


def test_a_short_request_goes_before_the_rest_of_a_long_one(kitchen: Kitchen):
    batcher = Batcher(kitchen.step, name="t")
    long = occupy(batcher, kitchen, "long 0", cost=20)
    futures = [long.submit(f"long {number}", cost=20) for number in range(1, 5)]
    futures.append(batcher.lane().submit("short", cost=5))
    finish(batcher, kitchen, *futures)
    assert kitchen.order == ["long 0", "short", "long 1", "long 2", "long 3", "long 4"]


def test_two_long_requests_take_turns(kitchen: Kitchen):
    batcher = Batcher(kitchen.step, name="t")
    one = occupy(batcher, kitchen, "a0", cost=30)
    futures = [one.submit(f"a{number}", cost=30) for number in range(1, 4)]
    other = batcher.lane()
    futures += [other.submit(f"b{number}", cost=30) for number in range(4)]
    finish(batcher, kitchen, *futures)
    assert kitchen.order == ["a0", "b0", "a1", "b1", "a2", "b2", "a3", "b3"]


def test_long_waiting_goes_before_newcomers(kitchen: Kitchen):
    batcher = Batcher(kitchen.step, name="t")
    long = occupy(batcher, kitchen, "long 0", cost=600)
    futures = [long.submit("long 1", cost=30)]
    long.waiting[0].since -= 31  # as if it had waited for half a minute
    futures.append(batcher.lane().submit("short", cost=5))
    finish(batcher, kitchen, *futures)
    assert kitchen.order == ["long 0", "long 1", "short"]


def test_a_newcomer_runs_beside_long_requests_that_keep_all_workers_busy(kitchen: Kitchen):
    batcher = Batcher(kitchen.step, name="t")
    long = batcher.lane()
    long.served = 300
    future = long.submit("long", cost=30)
    assert kitchen.entered.acquire(timeout=LIMIT)
    short = batcher.lane().submit("short", cost=5)
    assert kitchen.entered.acquire(timeout=LIMIT), "the newcomer waited for the long request"
    late = batcher.lane().submit("late", cost=5)
    assert not kitchen.entered.acquire(timeout=0.05), "one newcomer at a time"
    finish(batcher, kitchen, future, short, late)


def test_a_long_request_stands_aside_for_a_newcomer(kitchen: Kitchen):
    order: list[str] = []

    def step(batch: list[Work[str, str]]) -> None:
        kitchen.entered.release()
        if batch[0].payload == "long":
            assert kitchen.open.wait(LIMIT)
            batcher.stand_aside(batch)
        else:
            batcher.stand_aside(batch)  # not for itself
            kitchen.open.set()
            threading.Event().wait(0.05)
        order.append(batch[0].payload)
        batch[0].future.set_result("")

    batcher = Batcher(step, name="t")
    long = batcher.lane()
    long.served = 300
    futures = [long.submit("long", cost=30)]
    assert kitchen.entered.acquire(timeout=LIMIT)
    futures.append(batcher.lane().submit("short", cost=5))
    finish(batcher, kitchen, *futures)
    assert order == ["short", "long"]


def test_a_newcomer_s_batch_is_not_filled_with_a_long_request_s_work(kitchen: Kitchen):
    batcher = Batcher(kitchen.step, name="t", max_batch=8)
    occupy(batcher, kitchen)
    long = batcher.lane()
    long.served = 300
    futures = [long.submit("long", cost=30), batcher.lane().submit("short", cost=5), batcher.lane().submit("other")]
    finish(batcher, kitchen, *futures)
    assert sorted(kitchen.batches[1:]) == [["long"], ["short", "other"]]


def test_no_extra_worker_among_equals(kitchen: Kitchen):
    batcher = Batcher(kitchen.step, name="t")
    occupy(batcher, kitchen, cost=20)
    future = batcher.lane().submit("other", cost=15)
    assert not kitchen.entered.acquire(timeout=0.05)
    finish(batcher, kitchen, future)


def test_works_that_come_during_a_step_can_join_it(kitchen: Kitchen):
    batcher = Batcher(kitchen.step, name="t", max_batch=4)
    kitchen.also = batcher.join
    occupy(batcher, kitchen)
    futures = [batcher.lane().submit(name) for name in "abcde"]
    finish(batcher, kitchen, *futures)
    assert kitchen.batches[0] == ["first", "a", "b", "c"]


def test_a_request_s_second_piece_does_not_delay_its_first(kitchen: Kitchen):
    batcher = Batcher(kitchen.step, name="t", max_batch=4)
    kitchen.also = batcher.join
    lane = occupy(batcher, kitchen, cost=20)
    futures = [lane.submit("second", cost=20), batcher.lane().submit("other", cost=20)]
    finish(batcher, kitchen, *futures)
    assert kitchen.batches == [["first", "other"], ["second"]]


def test_a_work_may_take_several_turns():
    turns: list[str] = []

    def step(batch: list[Work[str, str]]) -> None:
        for work in batch:
            turns.append(work.payload)
            if turns.count(work.payload) < 3:
                batcher.put_back(work)
            else:
                work.future.set_result("done")

    batcher: Batcher[str, str] = Batcher(step, name="t")
    assert batcher.lane().submit("a").result(LIMIT) == "done"
    assert turns == ["a"] * 3
    batcher.close()


def test_work_put_back_goes_to_an_idle_worker_at_once():
    both = threading.Barrier(2)

    def step(batch: list[Work[str, str]]) -> None:
        if batch[0].payload == "a":
            other = Work(batch[0].lane, "b", 1.0, None)
            batcher.put_back(other)
            both.wait(LIMIT)  # only when the other worker has taken it meanwhile
        else:
            both.wait(LIMIT)
        batch[0].future.set_result("done")

    batcher: Batcher[str, str] = Batcher(step, name="t", workers=2)
    assert batcher.lane().submit("a").result(LIMIT) == "done"
    batcher.close()


def test_leaving_withdraws_what_waits(kitchen: Kitchen):
    batcher = Batcher(kitchen.step, name="t")
    occupy(batcher, kitchen)
    with batcher.lane() as lane:
        futures = [lane.submit("a"), lane.submit("b")]
        assert batcher.waiting == 2
    assert batcher.waiting == 0
    assert all(future.cancelled() for future in futures)
    other = batcher.lane().submit("c")
    finish(batcher, kitchen, other)
    assert kitchen.order == ["first", "c"]


def test_a_step_learns_that_nobody_waits_any_more(kitchen: Kitchen):
    wanted: list[bool] = []
    kitchen.also = lambda batch: wanted.append(batch[0].wanted)
    batcher = Batcher(kitchen.step, name="t")
    lane = occupy(batcher, kitchen)
    batcher.leave(lane)
    kitchen.open.set()
    batcher.close()
    assert wanted == [False]


def test_too_many_requests_are_told_when_to_come_back(kitchen: Kitchen):
    batcher = Batcher(kitchen.step, name="t", max_lanes=2)
    lanes = [batcher.lane(), batcher.lane()]
    with pytest.raises(Busy) as refused:
        batcher.lane()
    assert refused.value.retry_after >= 1
    batcher.leave(lanes[0])
    with batcher.lane():
        pass
    batcher.close()


def test_a_closed_queue_takes_nothing_and_says_so_to_who_waits(kitchen: Kitchen):
    batcher = Batcher(kitchen.step, name="t")
    lane = occupy(batcher, kitchen)
    waiting = lane.submit("never")
    closing = threading.Thread(target=batcher.close)
    closing.start()
    with pytest.raises(ShuttingDown):
        waiting.result(LIMIT)
    kitchen.open.set()
    closing.join(LIMIT)
    with pytest.raises(ShuttingDown):
        batcher.lane()


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.lists(st.tuples(st.floats(0.1, 40), st.integers(0, 2)), max_size=6), min_size=1, max_size=6),
    st.integers(1, 3),
    st.integers(1, 5),
)
def test_every_work_is_done_once(requests: list[list[tuple[float, int]]], workers: int, max_batch: int):
    done: list[tuple[int, int]] = []
    sizes: list[int] = []

    def step(batch: list[Work[tuple[int, int], int]]) -> None:
        batcher.join(batch)
        assert len({work.kind for work in batch}) == 1
        sizes.append(len(batch))
        for work in batch:
            done.append(work.payload)
            work.future.set_result(work.payload[1])

    batcher: Batcher[tuple[int, int], int] = Batcher(step, name="t", workers=workers, max_batch=max_batch, max_cost=60)
    futures = []
    for number, works in enumerate(requests):
        lane = batcher.lane()
        futures += [lane.submit((number, index), cost, kind) for index, (cost, kind) in enumerate(works)]
    assert not wait(futures, LIMIT).not_done
    batcher.close()
    assert sorted(done) == [(number, index) for number, works in enumerate(requests) for index in range(len(works))]
    assert max(sizes, default=0) <= max_batch
