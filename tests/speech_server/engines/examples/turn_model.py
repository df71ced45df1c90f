"""The smallest turn model: who has spoken for long has finished."""

from __future__ import annotations

from pathlib import Path

from speech_server.domain import RATE, Samples
from speech_server.engines.interfaces import EngineArgs
from speech_server.engines.queue.engine import QueuedEngine
from speech_server.engines.queue.fair_queue import Work


class Example(QueuedEngine[Samples, float]):
    memory_bytes = 1

    async def finished(self, samples: Samples) -> float:
        return await self._result(samples)

    def _step(self, batch: list[Work[Samples, float]]) -> None:
        for work in batch:
            work.future.set_result(min(1.0, len(work.payload) / RATE / 8))


def load(folder: Path, args: EngineArgs) -> Example:
    return Example("example", args)
