"""One ONNX session behind the fair queue: works of many requests looked at together."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from speech_server.engines.cores import core_count
from speech_server.engines.interfaces import EngineArgs
from speech_server.engines.onnx import StoppableSession, is_on_gpu, open_session, placement_of, require_names
from speech_server.engines.queue.engine import QueuedEngine
from speech_server.engines.queue.turnstile import CORES

T = TypeVar("T")
R = TypeVar("R")


class QueuedSession(QueuedEngine[T, R]):
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
        if names:
            require_names(self._session, model, *names)
        self.memory_bytes = 10 * model.stat().st_size
        workers = args.workers or (1 if cuda else core_count())
        self.placement = placement_of(self._session, workers=workers, threads=args.threads or 1)
        super().__init__(
            name,
            args,
            workers=workers,
            max_batch=max_batch,
            max_cost=max_cost,
            turnstile=None if cuda else CORES,
        )

    def close(self) -> None:
        super().close()
        del self._session
