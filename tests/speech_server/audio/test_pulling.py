"""Steps of many iterators share a pool's threads, and each iterator is closed once nobody wants more."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from speech_server.audio.pulling import Puller
from speech_server.pools import Pool

pytestmark = pytest.mark.anyio


class Steps:
    """Steps without end that each take until `gate` opens; knows whether it was closed, and on which thread."""

    def __init__(self) -> None:
        self.begun, self.gate, self.closed = threading.Event(), threading.Event(), threading.Event()

    def __iter__(self) -> Iterator[int]:
        try:
            while True:
                self.begun.set()
                self.gate.wait(20)
                yield 1
        finally:
            self.closed.set()


async def until(event: threading.Event) -> None:
    assert await asyncio.to_thread(event.wait, 20)


async def test_a_close_while_a_step_runs_takes_no_thread_and_waits_for_the_step():
    pool, steps = Pool("one", 1, waiting=8), Steps()
    puller = Puller(iter(steps), pool, threading.Event())
    pulling = asyncio.ensure_future(puller.pull())
    await until(steps.begun)
    pulling.cancel()
    closing = asyncio.ensure_future(puller.close())
    await asyncio.sleep(0)
    assert pool._taken == 1  # the step's own place
    steps.gate.set()
    await closing
    assert steps.closed.is_set()


async def test_a_step_that_cannot_be_stopped_closes_by_itself_and_keeps_nobody(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("speech_server.audio.pulling.CLOSING_SECONDS", 0.05)
    pool, steps = Pool("stuck", 1, waiting=8), Steps()
    puller = Puller(iter(steps), pool, threading.Event())
    pulling = asyncio.ensure_future(puller.pull())
    await until(steps.begun)
    pulling.cancel()
    await puller.close()
    assert not steps.closed.is_set()
    steps.gate.set()
    await until(steps.closed)


async def test_a_step_that_waits_for_a_thread_is_withdrawn():
    pool, first, second = Pool("taken", 1, waiting=8), Steps(), Steps()
    busy = asyncio.ensure_future(Puller(iter(first), pool, threading.Event()).pull())
    await until(first.begun)
    puller = Puller(iter(second), pool, threading.Event())
    pulling = asyncio.ensure_future(puller.pull())
    await asyncio.sleep(0)
    pulling.cancel()
    await puller.close()
    first.gate.set()
    await busy
    assert not second.begun.is_set()
    assert pool._taken == 0


async def test_short_steps_let_others_go_first():
    """Four that never end, and one that is short: it comes through on one thread."""
    pool, stop = Pool("shared", 1, waiting=8), threading.Event()

    def endless() -> Iterator[int]:
        while True:
            yield 0

    async def pull_on(puller: Puller[int]) -> None:
        while await puller.pull() is not None:
            pass

    endlessly = [asyncio.ensure_future(pull_on(Puller(endless(), pool, stop))) for _ in range(4)]
    short = Puller(iter([1, 2, 3]), pool, threading.Event())
    async with asyncio.timeout(20):
        assert [await short.pull() for _ in range(4)] == [1, 2, 3, None]
    assert not any(task.done() for task in endlessly)
    stop.set()
    await asyncio.gather(*endlessly)


async def test_what_comes_first_may_refuse_it():
    async def refuse() -> None:
        raise ValueError("no")

    puller = Puller(iter([1]), Pool("refusing", 1, waiting=8), threading.Event(), refuse)
    with pytest.raises(ValueError, match="no"):
        await puller.pull()
    await puller.close()
