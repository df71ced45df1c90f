"""The works of one request, fed into its lane as they come, their results given in the same order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Hashable
from typing import TypeVar

from speech_server.engines.queue.fair_queue import Lane

T = TypeVar("T")
R = TypeVar("R")


async def in_order(
    lane: Lane[T, R], works: AsyncIterator[tuple[T, float, Hashable]], ahead: int
) -> AsyncGenerator[R, None]:
    """Payload, cost and kind of each -> results, each as soon as it and those before it are done.

    At most `ahead` of them are in the queue: bounds memory. Closing it takes no more works.
    """
    done: asyncio.Queue[asyncio.Future[R] | None] = asyncio.Queue()
    slots = asyncio.Semaphore(ahead)
    feeder = asyncio.create_task(_feed(lane, works, done, slots))
    try:
        while future := await done.get():
            yield await future
            slots.release()
        await feeder
    finally:
        feeder.cancel()
        await asyncio.gather(feeder, return_exceptions=True)
        while not done.empty():
            if future := done.get_nowait():
                future.cancel()


async def _feed(
    lane: Lane[T, R],
    works: AsyncIterator[tuple[T, float, Hashable]],
    done: asyncio.Queue[asyncio.Future[R] | None],
    slots: asyncio.Semaphore,
) -> None:
    try:
        async for payload, cost, kind in works:
            await slots.acquire()
            done.put_nowait(asyncio.wrap_future(lane.submit(payload, cost, kind)))
    finally:
        done.put_nowait(None)
