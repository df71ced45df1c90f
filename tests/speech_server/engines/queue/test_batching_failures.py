"""The queue when steps raise, threads do not start, and requests leave meanwhile: nobody pays for another."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait

import pytest

from speech_server.engines.queue.batching import Batcher
from speech_server.engines.queue.fair_queue import Work
from speech_server.errors import DeviceFailed, OutOfMemory, ShuttingDown, ThreadsExhausted

LIMIT = 10  # seconds any wait here may take


class Bench:
    """Steps that shout their payloads in order; one that is a word of `bad` raises. The first batch waits for `open`,
    so that what is submitted meanwhile is done together."""

    def __init__(self, *bad: str, error: type[BaseException] = ValueError) -> None:
        self.bad = set(bad)
        self.error = error
        self.batches: list[list[str]] = []
        self.open = threading.Event()
        self.entered = threading.Event()
        self.before: Callable[[list[Work[str, str]]], object] = lambda batch: None

    def step(self, batch: list[Work[str, str]]) -> None:
        self.entered.set()
        assert self.open.wait(LIMIT)
        self.batches.append([work.payload for work in batch])
        self.before(batch)
        for work in batch:
            if work.payload in self.bad:
                raise self.error(work.payload)
            work.future.set_result(work.payload.upper())


def together(batcher: Batcher[str, str], bench: Bench, *names: str) -> dict[str, Future[str]]:
    """Works of as many requests, done in one batch once the bench opens."""
    batcher.lane().submit("first")
    assert bench.entered.wait(LIMIT)
    futures = {name: batcher.lane().submit(name) for name in names}
    bench.open.set()
    assert not wait(futures.values(), LIMIT).not_done
    return futures


def threads(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith(f"{name}_")]


# --- steps that raise ---


def test_one_bad_work_fails_alone_with_its_own_error():
    bench = Bench("bad")
    batcher = Batcher(bench.step, name="t", max_batch=8)
    futures = together(batcher, bench, "a", "bad", "c", "d")
    assert isinstance(futures.pop("bad").exception(), ValueError)
    assert {name: future.result() for name, future in futures.items()} == {"a": "A", "c": "C", "d": "D"}
    batcher.close()


def test_what_was_done_before_the_failure_is_not_done_again_and_the_rest_once_each_alone():
    bench = Bench("bad")
    batcher = Batcher(bench.step, name="t", max_batch=8)
    together(batcher, bench, "a", "bad", "c", "d")
    assert bench.batches == [["first"], ["a", "bad", "c", "d"], ["bad"], ["c"], ["d"]]
    batcher.close()


def test_two_bad_works_have_two_errors():
    bench = Bench("bad", "worse")
    batcher = Batcher(bench.step, name="t", max_batch=8)
    futures = together(batcher, bench, "bad", "a", "worse")
    errors = [str(futures[name].exception()) for name in ("bad", "worse")]
    assert errors == ["bad", "worse"]
    batcher.close()


def test_a_step_that_can_do_none_is_called_once_more_for_each_work_and_no_more():
    bench = Bench()

    def fail(batch: list[Work[str, str]]) -> None:
        if len(bench.batches) > 1:
            raise ValueError("none")

    bench.before = fail
    batcher = Batcher(bench.step, name="t", max_batch=8)
    futures = together(batcher, bench, "a", "b", "c")
    assert [str(future.exception()) for future in futures.values()] == ["none"] * 3
    assert bench.batches[1:] == [["a", "b", "c"], ["a"], ["b"], ["c"]]
    batcher.close()


def test_a_work_done_again_is_done_alone_even_where_others_could_join():
    bench = Bench("bad")
    batcher = Batcher(bench.step, name="t", max_batch=8)

    def join(batch: list[Work[str, str]]) -> None:
        batcher.join(batch)
        if len(bench.batches) == 2:
            batcher.lane().submit("late")

    bench.before = join
    futures = together(batcher, bench, "bad", "a")
    assert futures["a"].result() == "A"
    assert ["bad"] in bench.batches
    batcher.close()


def test_what_a_failing_step_had_put_back_or_set_aside_is_in_one_place_only():
    turns: list[str] = []
    aside: list[Work[str, str]] = []
    bench = Bench()

    def step(batch: list[Work[str, str]]) -> None:
        bench.entered.set()
        assert bench.open.wait(LIMIT)
        for work in batch:
            turns.append(work.payload)
            if work.payload == "bad":
                raise ValueError("bad")
            if work.payload == "aside" and turns.count("aside") == 1:
                batcher.set_aside(work)
                aside.append(work)
            elif work.payload == "again" and turns.count("again") == 1:
                batcher.put_back(work)
            else:
                work.future.set_result(work.payload)
                if work.payload == "z":
                    batcher.call_back(aside[0].lane)

    batcher: Batcher[str, str] = Batcher(step, name="t", max_batch=8)
    futures = together(batcher, bench, "aside", "again", "bad", "z")
    assert isinstance(futures["bad"].exception(), ValueError)
    assert {name: turns.count(name) for name in futures} == {"aside": 2, "again": 2, "bad": 2, "z": 1}
    batcher.close()


@pytest.mark.anyio
@pytest.mark.parametrize("error", [SystemExit, StopIteration, asyncio.CancelledError, GeneratorExit])
async def test_whatever_a_step_raises_a_coroutine_is_told_and_the_thread_goes_on(error: type[BaseException]):
    bench = Bench("bad", error=error)
    bench.open.set()
    batcher = Batcher(bench.step, name="t")
    async with asyncio.timeout(LIMIT):
        with pytest.raises(RuntimeError, match=error.__name__):
            await asyncio.wrap_future(batcher.lane().submit("bad"))
        assert await asyncio.wrap_future(batcher.lane().submit("good")) == "GOOD"
    await asyncio.to_thread(batcher.close)


def test_a_work_that_a_step_forgets_fails():
    batcher: Batcher[str, str] = Batcher(lambda batch: None, name="t")
    with pytest.raises(RuntimeError, match="undone"):
        batcher.lane().submit("a").result(LIMIT)
    batcher.close()


def test_leaving_ends_what_had_a_turn_before():
    """Put back or set aside, its future runs, and cannot be cancelled."""
    bench = Bench()
    kept: list[Work[str, str]] = []

    def step(batch: list[Work[str, str]]) -> None:
        if batch[0].payload == "aside":
            batcher.set_aside(batch[0])
            kept.append(batch[0])
            bench.entered.set()
        else:
            bench.step(batch)

    batcher: Batcher[str, str] = Batcher(step, name="t")
    lane = batcher.lane()
    future = lane.submit("aside")
    assert bench.entered.wait(LIMIT)
    batcher.leave(lane)
    assert isinstance(future.exception(LIMIT), ShuttingDown)
    batcher.call_back(lane)  # nothing is left to come back
    assert batcher.waiting == 0
    batcher.close()


# --- no memory ---

FULL = "CUDA failed with error out of memory"


class Card:
    """Steps that find memory for so many works at once, and none for a batch with a work of `huge`."""

    def __init__(self, fits: int, *huge: str) -> None:
        self.fits = fits
        self.huge = set(huge)
        self.bench = Bench()
        self.bench.before = self.take

    def take(self, batch: list[Work[str, str]]) -> None:
        if len(batch) > self.fits or self.huge & {work.payload for work in batch}:
            raise RuntimeError(FULL)

    @property
    def sizes(self) -> list[int]:
        return [len(batch) for batch in self.bench.batches[1:]]


def test_a_batch_that_finds_no_memory_is_done_in_smaller_ones_and_nobody_notices():
    card = Card(3)
    batcher = Batcher(card.bench.step, name="t", max_batch=8)
    futures = together(batcher, card.bench, *"abcdefgh")
    assert [future.result() for future in futures.values()] == list("ABCDEFGH")
    assert card.sizes == [8, 4, 2, 2, 2, 2]
    batcher.close()


def test_the_size_that_found_memory_is_remembered_and_the_log_says_so(caplog: pytest.LogCaptureFixture):
    card = Card(2)
    batcher = Batcher(card.bench.step, name="small-card", max_batch=8)
    together(batcher, card.bench, *"abcd")
    card.bench.open.clear()
    card.bench.entered.clear()
    together(batcher, card.bench, *"efgh")
    assert card.sizes == [4, 2, 2, 1, 2, 2]
    assert "small-card: 4 at once, now 2: not enough memory" in caplog.text
    batcher.close()


def test_only_what_finds_no_memory_alone_fails_and_says_what_to_do():
    card = Card(8, "huge")
    batcher = Batcher(card.bench.step, name="t", max_batch=8)
    futures = together(batcher, card.bench, "a", "huge", "c", "d")
    with pytest.raises(OutOfMemory, match="use a smaller model or compute type"):
        futures.pop("huge").result()
    assert {name: future.result() for name, future in futures.items()} == {"a": "A", "c": "C", "d": "D"}
    assert card.bench.batches.count(["huge"]) == 2  # the second time with nothing beside it
    batcher.close()


def test_what_finds_no_memory_beside_others_is_done_when_they_have_ended():
    order: list[str] = []
    long_works, beside = threading.Event(), threading.Event()

    def step(batch: list[Work[str, str]]) -> None:
        if batch[0].payload == "long":
            long_works.set()
            assert beside.wait(LIMIT)
            order.append("long ends")
            long_works.clear()
        elif long_works.is_set():
            order.append("none beside it")
            beside.set()
            raise RuntimeError(FULL)
        else:
            order.append("alone")
        batch[0].future.set_result("")

    batcher: Batcher[str, str] = Batcher(step, name="t", workers=2)
    long = batcher.lane().submit("long")
    assert long_works.wait(LIMIT)
    assert batcher.lane().submit("other").result(LIMIT) == ""
    assert long.result(LIMIT) == ""
    assert order == ["none beside it", "long ends", "alone"]
    batcher.close()


# --- a lost GPU ---


def test_a_lost_gpu_fails_what_is_there_and_what_comes_with_the_reason():
    bench = Bench()

    def lose(batch: list[Work[str, str]]) -> None:
        if batch[0].payload != "first":
            raise RuntimeError("CUDA failed with error an illegal memory access was encountered")

    bench.before = lose
    batcher = Batcher(bench.step, name="t", max_batch=2)
    assert batcher.fault is None
    futures = together(batcher, bench, *"abcd")
    for future in futures.values():
        with pytest.raises(DeviceFailed, match="illegal memory access"):
            future.result()
    assert bench.batches == [["first"], ["a", "b"]], "a lost GPU was used again"
    assert batcher.fault
    with pytest.raises(DeviceFailed):
        batcher.lane()
    batcher.close()


# --- threads that do not start ---


@pytest.mark.parametrize("allowed", [0, 1, 2])
def test_an_engine_whose_threads_cannot_start_does_not_open(refuse_threads: Callable[[str, int], None], allowed: int):
    bench = Bench()
    refuse_threads("denied_", allowed)
    with pytest.raises(ThreadsExhausted, match="'denied' needs 3"):
        Batcher(bench.step, name="denied", workers=2)
    assert threads("denied") == []


def test_an_open_engine_needs_no_more_threads(refuse_threads: Callable[[str, int], None]):
    bench = Bench()
    batcher = Batcher(bench.step, name="early", workers=2, max_batch=2)
    refuse_threads("early_", 0)
    futures = together(batcher, bench, *"abcdef")
    assert [future.result() for future in futures.values()] == list("ABCDEF")
    batcher.close()
    assert threads("early") == []


# --- how long a step takes ---


def test_the_oldest_step_tells_how_long_it_has_taken():
    bench = Bench()
    batcher = Batcher(bench.step, name="t")
    assert batcher.step_seconds == 0
    future = batcher.lane().submit("a")
    assert bench.entered.wait(LIMIT)
    first = batcher.step_seconds
    assert batcher.step_seconds > first > 0
    bench.open.set()
    assert future.result(LIMIT) == "A"
    batcher.close()
    assert batcher.step_seconds == 0
