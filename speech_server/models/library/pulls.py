"""Pulls under way: one per model, whoever asks; later askers join it and see how far it is."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field

from speech_server.errors import Busy, ShuttingDown
from speech_server.models.catalog.info import ModelInfo
from speech_server.models.disk.cache import Progress
from speech_server.pools import Pool

log = logging.getLogger(__name__)

_SHOW_EVERY = 0.2  # seconds; progress comes with every block of bytes
_REPORT_EVERY = 5.0  # seconds between log lines


@dataclass(frozen=True, slots=True)
class Step:
    done: int  # bytes
    total: int | None
    label: str


@dataclass(slots=True, eq=False)
class Pull:
    """One model on its way. `step` is None until the first bytes are in sight."""

    model_id: str
    call: Future[ModelInfo] = field(init=False)
    ended: asyncio.Future[ModelInfo] = field(init=False)
    waiting: int = 0
    step: Step | None = None
    next_report: float = 0.0

    def note(self, done: int, total: int | None, label: str) -> None:
        """Called from the pull's thread."""
        self.step = Step(done, total, label)
        if time.monotonic() >= self.next_report:
            self.next_report = time.monotonic() + _REPORT_EVERY
            log.info("model %s: %s, %.0f of %.0f MB", self.model_id, label, done / 1e6, (total or 0) / 1e6)

    def result(self) -> ModelInfo:
        if self.ended.cancelled():
            raise ShuttingDown("The server is shutting down")
        return self.ended.result()


class Pulls:
    """Belongs to one event loop.

    A pull that has begun goes on when those who asked have gone: its thread cannot be stopped, and what it fetched
    serves the next who asks. One that still waits for a thread leaves the line with the last who wants it.
    """

    def __init__(self, pull: Callable[[str, Progress], ModelInfo], at_once: int, waiting: int) -> None:
        self._pull = pull
        self._pool = Pool("pull", at_once, waiting)
        self._limits = f"{at_once} models are being downloaded and {waiting} wait"
        self._under_way: dict[str, Pull] = {}

    def __contains__(self, model_id: str) -> bool:
        return model_id in self._under_way

    async def wait(self, model_id: str) -> ModelInfo:
        """The model, once it is there. Raises Busy, and what pulling raises."""
        with self._joined(model_id) as pull:
            await asyncio.wait((pull.ended,))
            return pull.result()

    async def steps(self, model_id: str) -> AsyncGenerator[Step, None]:
        """How far the pull is, at most every 0.2 s, until the model is there. Raises Busy, and what pulling raises."""
        with self._joined(model_id) as pull:
            shown: Step | None = None
            while not pull.ended.done():
                await asyncio.wait((pull.ended,), timeout=_SHOW_EVERY)
                if pull.step is not None and pull.step is not shown:
                    shown = pull.step
                    yield shown
            pull.result()

    def close(self) -> None:
        """End the wait of all who wait; threads end with the process."""
        for pull in list(self._under_way.values()):
            pull.ended.cancel()

    @contextmanager
    def _joined(self, model_id: str) -> Iterator[Pull]:
        pull = self._under_way.get(model_id) or self._begin(model_id)
        pull.waiting += 1
        try:
            yield pull
        finally:
            pull.waiting -= 1
            if not pull.waiting and pull.call.cancel():  # it was still in line
                self._forget(pull)

    def _begin(self, model_id: str) -> Pull:
        pull = Pull(model_id)
        try:
            pull.call = self._pool.submit(self._pull, model_id, pull.note)
        except Busy as error:
            raise Busy(f"{self._limits} already: try again later", retry_after=30) from error
        pull.ended = asyncio.wrap_future(pull.call)
        pull.ended.add_done_callback(lambda ended: self._end(pull, ended))
        self._under_way[model_id] = pull
        return pull

    def _end(self, pull: Pull, ended: asyncio.Future[ModelInfo]) -> None:
        self._forget(pull)
        if not ended.cancelled() and (error := ended.exception()) is not None:  # those who asked may have gone
            log.warning("model %s was not pulled: %s: %s", pull.model_id, type(error).__name__, error)

    def _forget(self, pull: Pull) -> None:
        if self._under_way.get(pull.model_id) is pull:
            del self._under_way[pull.model_id]
