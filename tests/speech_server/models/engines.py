"""Engines made for the loader's tests: they take memory, load and close when they are told to, and hear nothing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

from speech_server.engines.interfaces import EngineArgs
from speech_server.engines.queue.batching import Batcher
from speech_server.models.loader import Loader

WHISPER = "a/whisper"
PIPER = "a/piper"
MB = 1_000_000
LIMIT = 10.0  # seconds no test should need


class Engine:
    """Something that takes memory until it is closed."""

    def __init__(self, folder: Path, factory: Factory) -> None:
        self.folder = folder
        self._factory = factory
        self.memory_bytes = factory.memory_bytes
        self.gpu_workspace = factory.gpu_workspace
        self.batcher: Batcher[str, str] | None = None
        self.closed = False

    def close(self) -> None:
        assert not self.closed
        assert self._factory.closing.wait(LIMIT)
        self.closed = True
        if self._factory.closing_error:
            raise self._factory.closing_error


class Factory:
    """Makes engines, as slowly as `gate` says, and remembers them."""

    def __init__(self, memory_bytes: int = MB) -> None:
        self.memory_bytes = memory_bytes
        self.gpu_workspace = 0
        self.takes: Callable[[], object] = lambda: None  # what else a load does
        self.made: list[Engine] = []
        self.calls = 0
        self.gate = threading.Event()
        self.gate.set()
        self.closing = threading.Event()  # when engines may finish closing
        self.closing.set()
        self.error: Exception | None = None
        self.closing_error: Exception | None = None

    def __call__(self, folder: Path, args: EngineArgs) -> Engine:
        self.calls += 1
        assert self.gate.wait(LIMIT)
        if self.error:
            raise self.error
        self.takes()
        engine = Engine(folder, self)
        self.made.append(engine)
        return engine

    @property
    def alive(self) -> list[Engine]:
        return [engine for engine in self.made if not engine.closed]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT):
        while not condition():  # noqa: ASYNC110  # the loader has no event for everything
            await asyncio.sleep(0.001)


def using(loader: Loader, name: str, leave: asyncio.Event) -> asyncio.Task[object]:
    """A request: uses the model until `leave`; the task's result is the engine it got."""

    async def request() -> object:
        async with loader.use(name) as engine:
            await leave.wait()
            return engine

    return asyncio.create_task(request())
