"""One ONNX session behind the fair queue: works of many requests looked at together, each request's in order."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Hashable
from contextlib import aclosing
from pathlib import Path
from typing import Generic, TypeVar

from speech_server.engines.cores import core_count
from speech_server.engines.interfaces import EngineArgs
from speech_server.engines.onnx import StoppableSession, is_on_gpu, open_session, placement_of, require_names
from speech_server.engines.queue.batching import Batcher
from speech_server.engines.queue.fair_queue import Work
from speech_server.engines.queue.in_order import in_order
from speech_server.engines.queue.turnstile import CORES

T = TypeVar("T")
R = TypeVar("R")


class QueuedSession(ABC, Generic[T, R]):
    """Called from as many threads as there are cores. `names`: what its network takes and gives."""

    def __init__(
        self,
        model: Path,
        args: EngineArgs,
        *,
        name: str,
        max_batch: int,
        max_cost: float,
        names: tuple[str, str] | None = None,
    ) -> None:
        self._session = StoppableSession(open_session(model, args.threads or 1, args))
        cuda = is_on_gpu(self._session)
        if names:  # before the threads start, which nobody would close
            require_names(self._session, model, *names)
        self.memory_bytes = 10 * model.stat().st_size
        self._workers = args.workers or (1 if cuda else core_count())
        self.placement = placement_of(self._session, workers=self._workers, threads=args.threads or 1)
        self.batcher: Batcher[T, R] = Batcher(
            self._step,
            name=name,
            workers=self._workers,
            max_batch=max_batch,
            max_cost=max_cost,
            max_lanes=int(args.extra.get("max_requests", 128)),
            turnstile=None if cuda else CORES,
        )

    def close(self) -> None:
        self.batcher.close()
        del self._session

    async def _results(self, works: AsyncIterator[tuple[T, float, Hashable]]) -> AsyncGenerator[R, None]:
        with self.batcher.lane() as lane:
            async with aclosing(in_order(lane, works, 2 * self._workers)) as results:
                async for result in results:
                    yield result

    @abstractmethod
    def _step(self, batch: list[Work[T, R]]) -> None: ...
