from __future__ import annotations

import asyncio

import pytest

from speech_server.realtime.live.queues import Bounded

pytestmark = pytest.mark.anyio


async def test_messages_come_out_in_order_and_in_batches_of_a_bounded_size():
    queue = Bounded(100)
    for message in ("aaa", "bb", "cccc", "d"):
        queue.put(message)
    assert [await queue.take(5), await queue.take(5)] == [
        ["aaa", "bb"],
        ["cccc", "d"],
    ]


async def test_whoever_takes_waits_for_a_message():
    queue = Bounded(10)
    taking = asyncio.create_task(queue.take())
    await asyncio.sleep(0)
    assert not taking.done()
    queue.put("late")
    assert await taking == ["late"]


async def test_whoever_puts_waits_for_room():
    queue = Bounded(10)
    queue.put("x" * 10)
    waiting = asyncio.create_task(queue.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    await queue.take()
    await waiting


async def test_a_message_larger_than_the_queue_still_gets_through():
    queue = Bounded(10)
    await queue.room(1000)
    queue.put("x" * 1000)
    assert len((await queue.take())[0]) == 1000


async def test_dropped_messages_make_room():
    queue = Bounded(10)
    queue.put("audio", "resp_1")
    queue.put("event")
    waiting = asyncio.create_task(queue.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    queue.drop("resp_1")
    await waiting
    assert await queue.take(100) == ["event"]
