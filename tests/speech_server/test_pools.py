"""Blocking calls run on named threads, a bounded number at once, and no more than a bounded number wait."""

from __future__ import annotations

import asyncio
import threading

import pytest

from speech_server.errors import Busy
from speech_server.pools import Pool

pytestmark = pytest.mark.anyio


def named(pool: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith(f"{pool}_")]


async def test_a_call_runs_on_a_thread_that_bears_the_pools_name():
    name = await Pool("purpose", 1, 0).run(lambda: threading.current_thread().name)
    assert name.startswith("purpose")


async def test_what_a_call_raises_reaches_who_waits():
    with pytest.raises(ZeroDivisionError):
        await Pool("failing", 1, 0).run(lambda: 1 // 0)


async def test_one_call_more_than_run_and_wait_is_refused_and_a_freed_place_is_taken():
    pool, gate = Pool("full", 2, 1), threading.Event()
    calls = [asyncio.ensure_future(pool.run(gate.wait)) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(Busy, match="'full'"):
        await pool.run(gate.wait)
    gate.set()
    await asyncio.gather(*calls)
    assert await pool.run(lambda: 7) == 7


async def test_a_cancelled_wait_leaves_the_line_and_its_place():
    pool, gate = Pool("cancelled", 1, 1), threading.Event()
    running = asyncio.ensure_future(pool.run(gate.wait))
    waiting = asyncio.ensure_future(pool.run(gate.wait))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    next_one = asyncio.ensure_future(pool.run(lambda: 7))
    gate.set()
    await running
    assert await next_one == 7


async def test_all_threads_are_there_after_the_first_call():
    await Pool("early", 3, 0).run(lambda: None)
    assert len(named("early")) == 3


async def test_threads_that_cannot_start_are_an_error_at_once_and_the_next_call_tries_again(
    monkeypatch: pytest.MonkeyPatch,
):
    pool, start = Pool("denied", 2, 0), threading.Thread.start
    allowed = [True, False]

    def limited(thread: threading.Thread) -> None:
        if thread.name.startswith("denied") and not (allowed.pop(0) if allowed else True):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    with pytest.raises(RuntimeError, match="can't start"):
        await pool.run(lambda: 7)
    assert await pool.run(lambda: 7) == 7
