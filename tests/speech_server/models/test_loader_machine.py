"""The loader as a state machine: loads that fail, are late or never come, closings that raise, requests that go."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from speech_server.errors import Busy, ModelBroken, ModelInUse, ModelNotFound, OutOfMemory, ShuttingDown
from speech_server.models.disk.cache import Cache
from speech_server.models.library.catalog import Catalog
from speech_server.models.library.store import Store
from speech_server.models.loader import Loader
from speech_server.settings import Settings
from tests.speech_server.models.conftest import install
from tests.speech_server.models.engines import MB, Engine, Factory, until

NAMES = ("a/one", "a/two", "a/three")
# How a request may end, besides well: its model fails to load, has no room, or was unloaded with an error.
ENDS = (Busy, ModelBroken, RuntimeError, asyncio.CancelledError)

ASK = st.tuples(st.just("ask"), st.sampled_from(NAMES), st.integers(1, 3))
TIME = st.tuples(st.just("time_passes"), st.sampled_from([0.003, 0.02]))
ACTS = st.one_of(
    ASK,
    TIME,
    ASK,
    TIME,
    st.tuples(st.just("end"), st.integers(0, 9), st.booleans()),
    st.tuples(st.just("unload"), st.sampled_from(NAMES), st.booleans()),
    st.tuples(st.just("loads_fail"), st.sampled_from([None, ModelBroken("broken"), MemoryError("none")])),
    st.tuples(st.just("closings_fail"), st.sampled_from([None, RuntimeError("the device is lost")])),
    st.tuples(st.just("hold_up"), st.booleans(), st.booleans()),
)


class Request:
    def __init__(self, loader: Loader, name: str) -> None:
        self.leave = asyncio.Event()
        self.engine: Engine | None = None
        self.task = asyncio.ensure_future(self.run(loader, name))

    async def run(self, loader: Loader, name: str) -> None:
        async with loader.use(name) as engine:
            assert isinstance(engine, Engine)
            self.engine = engine
            try:
                await self.leave.wait()
                assert not engine.closed
            finally:
                self.engine = None


class Loading(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        cache = Cache(Path(self.folder.name))
        for name in NAMES:
            install(cache, name)
        table = Settings(model_read_caches=[cache.root], int8_cache=False, model_memory_mb=5, stt_model_ttl=0.01)
        catalog = Catalog(table)
        self.factory = Factory(2 * MB)
        self.loader = Loader(table, catalog, Store(table, catalog), {"whisper": self.factory})
        self.requests: list[Request] = []
        self.unloads: list[asyncio.Task[None]] = []

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    @rule(acts=st.lists(ACTS, min_size=20, max_size=40))
    def live(self, acts: list[tuple[Any, ...]]) -> None:
        for act, *args in acts:
            getattr(self, act)(*args)
            self.check()

    def ask(self, name: str, count: int) -> None:
        async def begin() -> None:
            self.requests += [Request(self.loader, name) for _ in range(count)]
            await asyncio.sleep(0)

        self.run(begin())

    def end(self, number: int, cancel: bool) -> None:
        if not self.requests:
            return
        request = self.requests[number % len(self.requests)]

        async def end() -> None:
            if cancel:
                request.task.cancel()
            request.leave.set()
            await asyncio.sleep(0)

        self.run(end())

    def unload(self, name: str, wait: bool) -> None:
        async def unload() -> None:
            self.unloads.append(asyncio.ensure_future(self.loader.unload(name)))
            await asyncio.sleep(0)
            if not wait:
                self.unloads[-1].cancel()

        self.run(unload())

    def loads_fail(self, error: Exception | None) -> None:
        self.factory.error = error

    def closings_fail(self, error: Exception | None) -> None:
        self.factory.closing_error = error

    def hold_up(self, loads: bool, closings: bool) -> None:
        for event, shut in ((self.factory.gate, loads), (self.factory.closing, closings)):
            event.clear() if shut else event.set()

    def time_passes(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))

    @rule()
    def settle(self) -> None:
        """Everybody leaves, and every model with them."""
        self.heal()
        self.run(self.empty())
        for request in self.requests:
            if not request.task.cancelled() and (error := request.task.exception()) is not None:
                assert isinstance(error, (*ENDS, OutOfMemory)), error
        for task in self.unloads:
            if not task.cancelled() and (error := task.exception()) is not None:
                assert isinstance(error, ModelInUse | ModelNotFound | RuntimeError), error
        self.requests.clear()
        self.unloads.clear()

    def heal(self) -> None:
        self.factory.error = self.factory.closing_error = None
        self.factory.gate.set()
        self.factory.closing.set()

    async def empty(self) -> None:
        for request in self.requests:
            request.leave.set()
        await until(lambda: all(task.done() for task in [r.task for r in self.requests] + self.unloads))
        await until(lambda: not [*self.loader._memory] and not self.loader._memory.leaving and not self.factory.alive)

    def check(self) -> None:
        self.nobody_is_forgotten()
        self.no_engine_is_there_twice_or_closed_in_use()
        self.what_is_loaded_is_what_is_counted()

    def nobody_is_forgotten(self) -> None:
        residents = [*self.loader._memory]
        waiting = sum(not request.task.done() for request in self.requests)
        assert all(resident.references >= 0 for resident in residents)
        assert sum(resident.references for resident in residents) <= waiting

    def no_engine_is_there_twice_or_closed_in_use(self) -> None:
        folders = [engine.folder for engine in self.factory.alive]
        assert len(folders) == len(set(folders))
        assert not any(request.engine.closed for request in self.requests if request.engine)

    def what_is_loaded_is_what_is_counted(self) -> None:
        loaded = [resident for resident in self.loader._memory if resident.engine]
        assert all(resident.memory_bytes == 2 * MB and resident.engine in self.factory.alive for resident in loaded)
        assert self.loader.trouble() is None

    def teardown(self) -> None:
        self.settle()
        self.run(self.loader.load("a/one"))  # whatever went before, the next one loads
        self.run(self.end_all())
        self.runner.close()
        self.folder.cleanup()

    async def end_all(self) -> None:
        await self.loader.close()
        assert not self.factory.alive
        try:
            await self.loader.load("a/two")
        except ShuttingDown:
            return
        raise AssertionError("a closed loader loads")


TestLoading = Loading.TestCase
TestLoading.settings = settings(
    max_examples=20, stateful_step_count=3, deadline=None, derandomize=True, database=None, print_blob=False
)
