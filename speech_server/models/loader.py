"""Brings models into memory on first use, counts who uses them, lets idle ones go."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import cast

from outgoing import tracing
from speech_server.engines.allocator import give_back
from speech_server.engines.container_memory import model_budget
from speech_server.engines.interfaces import (
    Engine,
    EngineFactory,
    Speaker,
    Transcriber,
    VoiceDetector,
    VoiceEncoder,
)  # fmt: skip
from speech_server.errors import (
    DeviceFailed,
    LoadTimeout,
    ModelInUse,
    ModelNotFound,
    ModelNotInstalled,
    ShuttingDown,
    SourceUnavailable,
    WrongTask,
)  # fmt: skip
from speech_server.models.catalog.info import STT, TTS, VAD, VOICES, EngineName, Task
from speech_server.models.library.catalog import Catalog, ModelInfo
from speech_server.models.library.library import Library
from speech_server.models.library.store import Store
from speech_server.models.memory import Memory, Resident, idle_seconds, limited
from speech_server.models.opening import Opener, Weight
from speech_server.models.placing import told
from speech_server.models.watchdog import find_fault, find_overdue
from speech_server.pools import Pool
from speech_server.settings import Settings

log = logging.getLogger(__name__)

DETECTOR = "silero_vad"  # which voice detector, where nobody chooses
ENCODER = "pyannote/speaker-diarization-community-1"  # the same; an alias, and what Speaches' clients send
_THREADS = 4  # models opened, closed or deleted at once
_QUIET = 10.0  # seconds without work after which freed memory goes back to the system
_WAITING = 1000  # more than there are models: closing one is never refused


class Loader:
    """Belongs to one event loop. Takes ids and aliases.

    There is at most one load per model, whoever asks, and it goes on when those who asked have gone. A load that
    exceeds MODEL_LOAD_TIMEOUT fails for those who wait; it is not started a second time beside the first, and
    `overdue` tells the server to end: what does not return cannot be interrupted.
    """

    def __init__(
        self, settings: Settings, catalog: Catalog, store: Store, factories: Mapping[EngineName, EngineFactory]
    ) -> None:
        self._settings = settings
        self.catalog = catalog
        self._store = store
        self.library = Library(settings, catalog, store)
        self._opener = Opener(store, factories, settings.warm_up_timeout)
        # One pool: its threads start with the first load, and are there when a model has to be closed.
        self._pool = Pool("load", _THREADS, _WAITING)
        self._memory = Memory(model_budget(settings.model_memory_mb), self._pool)
        self._sizes: dict[str, tuple[int, int]] = {}  # what models took when they were last loaded
        self._fault: DeviceFailed | None = None
        self._kept: set[str] = set()
        self._closed = False
        self._quiet: asyncio.TimerHandle | None = None

    def check(self, name: str, task: Task | None = None) -> ModelInfo:
        """Refuse a model that cannot serve `task`, without loading it or touching a network.

        Raises ModelNotInstalled, WrongTask.
        """
        model_id = self.catalog.resolve(name)
        resident = self._memory.get(model_id)
        info = resident.info if resident else self.catalog.find(model_id)
        if info is None:
            raise self.library.missing(name)
        if task is not None and info.task != task:
            raise WrongTask(name, info.task, task)
        if (
            resident is None
            and self._store.folder(model_id) is None
            and not (self._settings.auto_download and self._store.is_obtainable(model_id))
        ):
            raise self.library.missing(name)
        return info

    async def require(self, name: str, task: Task) -> ModelInfo:
        """`check`, after a look at the disk for a model that was not there before."""
        await self.library.seek(name)
        return self.check(name, task)

    # A model's task says which of the engine interfaces it has; each stays loaded until the block is left.

    def transcriber(self, name: str) -> AbstractAsyncContextManager[Transcriber]:
        return cast("AbstractAsyncContextManager[Transcriber]", self.use(name, STT))

    def speaker(self, name: str) -> AbstractAsyncContextManager[Speaker]:
        return cast("AbstractAsyncContextManager[Speaker]", self.use(name, TTS))

    def detector(self, name: str = DETECTOR) -> AbstractAsyncContextManager[VoiceDetector]:
        return cast("AbstractAsyncContextManager[VoiceDetector]", self.use(name, VAD))

    def voice_encoder(self, name: str = ENCODER) -> AbstractAsyncContextManager[VoiceEncoder]:
        return cast("AbstractAsyncContextManager[VoiceEncoder]", self.use(name, VOICES))

    @asynccontextmanager
    async def use(self, name: str, task: Task | None = None) -> AsyncIterator[Engine]:
        """The model's engine, loaded (and downloaded) first when need be; it stays until the block is left.

        Raises what `check` raises; Busy, ModelTooLarge, OutOfMemory, LoadTimeout, ModelBroken, StorageFull,
        DeviceFailed.
        """
        await self.library.seek(name)
        info = self.check(name, task)
        if self._closed:
            raise ShuttingDown("The server is shutting down")
        if fault := self.fault():
            raise fault
        resident = self._memory.get(info.id) or self._start(info)
        resident.references += 1
        if resident.expiry:
            resident.expiry.cancel()
        try:
            if (engine := resident.engine) is None:
                with tracing.span("load_model", {"gen_ai.request.model": info.id}):
                    engine = await self._loaded(resident)
            yield engine
        finally:
            resident.references -= 1
            self._rest(resident)

    async def keep(self, name: str) -> ModelInfo:
        """`load`, for good: only a models file's own `ttl` and the need for room let it go."""
        self._kept.add(self.catalog.resolve(name))
        return await self.load(name)

    async def load(self, name: str) -> ModelInfo:
        """Bring a model into memory, where it stays for its idle time."""
        async with self.use(name):
            return self.check(name)

    async def unload(self, name: str) -> None:
        """Raises ModelInUse, and leaves the model alone, when somebody uses or awaits it; ModelNotFound."""
        resident = self._memory.get(self.catalog.resolve(name))
        if resident is None:
            raise ModelNotFound(f"Model '{name}' is not loaded", param="model")
        if not resident.is_idle:
            raise ModelInUse(f"Model '{name}' is in use by {resident.references} requests: try again later")
        # Shielded: the engine goes on closing when the client does not wait for it, and the next load waits for that.
        await asyncio.shield(self._memory.evict(resident))

    async def remove(self, name: str) -> None:
        """Unload a model and delete it from disk. Raises ModelInUse, ModelNotInstalled, ModelNotRemovable."""
        model_id = self.catalog.resolve(name)
        if self._memory.get(model_id):
            await self.unload(model_id)
        await self.library.remove(model_id)

    def is_loaded(self, name: str) -> bool:
        resident = self._memory.get(self.catalog.resolve(name))
        return resident is not None and resident.engine is not None

    def loaded(self) -> list[Resident]:
        return [resident for resident in self._memory if resident.engine is not None]

    def fault(self) -> DeviceFailed | None:
        """Why no engine can use the GPU any more, if so: the server refuses what comes, until it has ended."""
        self._fault = self._fault or find_fault(self._memory)
        return self._fault

    def trouble(self) -> str | None:
        """Why the server has to end: a load, batch or closing that has not returned in its time, or a lost GPU."""
        fault = self.fault()
        return fault.reason if fault else find_overdue(self._memory, self._settings)

    async def close(self) -> None:
        """Free every engine, used or not, for as long as requests get; what goes on then ends with the process."""
        self._closed = True
        if self._quiet:
            self._quiet.cancel()
        limit = 0.0 if self.trouble() else self._settings.shutdown_timeout
        for resident in self._memory:
            if resident.engine:
                if not self._fault:  # CTranslate2 would abort the process: what frees memory of a lost GPU throws
                    self._memory.evict(resident)
            elif resident.loading:
                resident.loading.cancel()
        self.library.close()
        await self._memory.settle(limit)

    def _start(self, info: ModelInfo) -> Resident:
        resident = Resident(info, *self._estimate(info), last_used=time.monotonic())
        self._memory.admit(resident)
        resident.loading = asyncio.create_task(self._bring_in(resident), name=f"load {info.id}")
        resident.loading.add_done_callback(_report_failure)
        return resident

    def _estimate(self, info: ModelInfo) -> tuple[int, int]:
        """Bytes of memory and of a GPU's."""
        perhaps = info.size_bytes if self._memory.gpu_budget and info.args.device != "cpu" else 0
        return self._sizes.get(info.id, (info.size_bytes, perhaps))

    async def _bring_in(self, resident: Resident) -> None:
        try:
            await self._download(resident)
            await self._load(resident)
        finally:
            if resident.engine is None:
                self._memory.discard(resident)
        self._memory.trim(resident)
        self._rest(resident)

    async def _download(self, resident: Resident) -> None:
        """Install the model unless it is."""
        model_id = resident.info.id
        try:
            with limited(resident, self._settings.model_download_timeout):
                resident.info = await self.library.pull(model_id)
        except SourceUnavailable as error:
            raise ModelNotInstalled(model_id, error.message) from error
        resident.memory_bytes, resident.gpu_bytes = self._estimate(resident.info)
        self._memory.make_room(resident)

    async def _load(self, resident: Resident) -> None:
        info, started = resident.info, time.monotonic()
        with limited(resident, self._settings.model_load_timeout):
            await self._memory.settle()
            try:
                engine, weight = await self._pool.run(self._open, resident)
            except DeviceFailed as error:
                self._fault = error
                raise
        resident.engine = engine
        self._memory.gpu_budget = weight.budget or self._memory.gpu_budget
        resident.memory_bytes, resident.gpu_bytes = self._sizes[info.id] = engine.memory_bytes, weight.taken
        resident.loaded_at = time.time()
        took, where = time.monotonic() - started, told(resident.placement, resident.cards)
        own, gpu = (round(size / 1e6) for size in resident.sizes)
        log.info("model %s loaded in %.2f s, %d MB, and %d of a GPU%s", info.id, took, own, gpu, where)

    def _open(self, resident: Resident) -> tuple[Engine, Weight]:
        engine, weight = self._opener.open(resident, partial(self._memory.is_quiet, resident))
        if self._closed:  # nobody waits for it any more
            engine.close()
            raise ShuttingDown("The server is shutting down")
        return engine, weight

    async def _loaded(self, resident: Resident) -> Engine:
        """Wait for the one load of a model; being cancelled here does not cancel it."""
        assert resident.loading is not None
        await asyncio.wait({resident.loading, resident.overdue}, return_when=asyncio.FIRST_COMPLETED)
        if not resident.loading.done():
            raise LoadTimeout(
                f"Model '{resident.info.id}' did not load in time: see MODEL_LOAD_TIMEOUT, MODEL_DOWNLOAD_TIMEOUT"
            )
        if resident.loading.cancelled() or (resident.loading.exception() is None and resident.engine is None):
            raise ShuttingDown("The server is shutting down")
        resident.loading.result()
        assert resident.engine is not None
        return resident.engine

    def _rest(self, resident: Resident) -> None:
        """When nobody uses a model any more, its idle time begins."""
        if not resident.is_idle or self._closed:
            return
        resident.last_used = time.monotonic()
        if self._quiet:
            self._quiet.cancel()
        self._quiet = asyncio.get_running_loop().call_later(_QUIET, self._give_back)
        if (ttl := idle_seconds(resident.info, self._settings, kept=resident.info.id in self._kept)) >= 0:
            resident.expiry = asyncio.get_running_loop().call_later(ttl, self._expire, resident)

    def _give_back(self) -> None:
        if not any(resident.references for resident in self._memory):
            self._pool.submit(give_back)

    def _expire(self, resident: Resident) -> None:
        log.info("model %s leaves memory after %.0f s idle", resident.info.id, time.monotonic() - resident.last_used)
        self._memory.evict(resident)


def _report_failure(loading: asyncio.Task[None]) -> None:
    """Everyone who waited for a load may have gone when it fails: it is logged, not lost."""
    if not loading.cancelled() and (error := loading.exception()) is not None:
        log.warning("%s failed: %s: %s", loading.get_name(), type(error).__name__, error)
