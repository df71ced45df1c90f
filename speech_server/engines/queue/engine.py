"""What engines behind the fair queue share: the works of many requests in batches, each request's results in order."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Hashable
from contextlib import aclosing
from math import inf
from typing import Generic, TypeVar

from speech_server.engines.interfaces import EngineArgs
from speech_server.engines.queue.batching import Batcher
from speech_server.engines.queue.fair_queue import Work
from speech_server.engines.queue.in_order import in_order
from speech_server.engines.queue.turnstile import Turnstile

T = TypeVar("T")
R = TypeVar("R")


class QueuedEngine(ABC, Generic[T, R]):
    """Opens threads, which `close` ends: an engine calls this last."""

    def __init__(
        self,
        name: str,
        args: EngineArgs,
        *,
        workers: int = 1,
        max_batch: int = 1,
        max_cost: float = inf,
        ahead: int = 0,
        turnstile: Turnstile | None = None,
    ) -> None:
        # Works of one request in the queue: bounds memory, keeps all workers busy.
        self._ahead = ahead or 2 * workers
        self.batcher: Batcher[T, R] = Batcher(
            self._step,
            name=name,
            workers=workers,
            max_batch=max_batch,
            max_cost=max_cost,
            max_lanes=int(args.extra.get("max_requests", 128)),
            turnstile=turnstile,
        )

    def close(self) -> None:
        self.batcher.close()

    async def _results(self, works: AsyncIterator[tuple[T, float, Hashable]]) -> AsyncGenerator[R, None]:
        """Payload, cost and kind of each work -> its result, in order. Raises Busy."""
        with self.batcher.lane() as lane:
            async with aclosing(in_order(lane, works, self._ahead)) as results:
                async for result in results:
                    yield result

    async def _result(self, payload: T, cost: float = 1.0, kind: Hashable = None) -> R:
        """Of one work by itself. Raises Busy."""
        with self.batcher.lane() as lane:
            return await asyncio.wrap_future(lane.submit(payload, cost, kind))

    @abstractmethod
    def _step(self, batch: list[Work[T, R]]) -> None:
        """On a thread of the queue's: set the future of each work."""
