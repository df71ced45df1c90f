"""Which models are in memory, what they take, and which of them go when room is needed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from speech_server.engines.cuda import Card
from speech_server.engines.interfaces import Engine, Placement, Queue
from speech_server.errors import Busy, ModelTooLarge
from speech_server.models.catalog.info import SEGMENTATION, STT, TTS, TURNS, VAD, VOICES, ModelInfo
from speech_server.pools import Pool
from speech_server.settings import Settings

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Resident:
    """One model on its way into memory, or there."""

    info: ModelInfo
    memory_bytes: int  # an estimate until it is loaded
    gpu_bytes: int = 0  # of a GPU's memory, the same
    loading: asyncio.Task[None] | None = None
    overdue: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    engine: Engine | None = None
    references: int = 0
    last_used: float = 0.0
    loaded_at: float = 0.0  # seconds since 1970
    opening: float | None = None  # when its engine's factory was called (monotonic), while that has not returned
    expiry: asyncio.TimerHandle | None = field(default=None, repr=False)
    cards: tuple[Card, ...] = ()  # as its engine left them when it was loaded

    @property
    def is_idle(self) -> bool:
        return self.engine is not None and self.references == 0

    @property
    def queue(self) -> Queue | None:
        return getattr(self.engine, "batcher", None)

    @property
    def placement(self) -> Placement | None:
        return getattr(self.engine, "placement", None)

    @property
    def sizes(self) -> tuple[int, int]:
        return self.memory_bytes, self.gpu_bytes


class Memory:
    """Residents by model id, within a budget in bytes (0: none), and one of a GPU's memory. Belongs to one event loop.

    Engines are closed on `pool`. `leaving` holds what is being closed, and since when (monotonic).
    """

    def __init__(self, budget: int, pool: Pool) -> None:
        self._budget = budget
        self.gpu_budget = 0
        self._pool = pool
        self._residents: dict[str, Resident] = {}
        self.leaving: dict[asyncio.Task[None], float] = {}

    def __iter__(self) -> Iterator[Resident]:
        return iter(list(self._residents.values()))

    def get(self, model_id: str) -> Resident | None:
        return self._residents.get(model_id)

    def admit(self, resident: Resident) -> None:
        """Reserve room for a model that is about to load, evicting idle ones, the least recently used first.

        Raises Busy when it could only fit in the place of models in use, ModelTooLarge when it never could.
        """
        self.make_room(resident)
        self._residents[resident.info.id] = resident

    def make_room(self, resident: Resident) -> None:
        name = resident.info.id
        for needed, allowed, whose, advice in (
            (resident.memory_bytes, self._budget, "memory, MODEL_MEMORY_MB allows", "raise it, or use"),
            (resident.gpu_bytes, self.gpu_budget, "a GPU's memory, which has room for", "use a larger one, or"),
        ):
            if needed > allowed > 0:
                message = f"Model '{name}' needs about {needed / 1e6:.0f} MB of {whose} {allowed / 1e6:.0f}"
                raise ModelTooLarge(f"{message}: {advice} a smaller model")
        victims, fits = self._victims(resident)
        if not fits:
            raise Busy(f"No memory for model '{name}' while other models are in use: try again later", retry_after=5)
        self._evict_all(victims, name)

    def trim(self, resident: Resident) -> None:
        """Like make_room for a model that turned out larger than its estimate: what can go goes."""
        self._evict_all(self._victims(resident)[0], resident.info.id)

    def is_quiet(self, resident: Resident) -> bool:
        """Whether nobody uses another model that is on a GPU. Asked from any thread."""
        return not any(other.references for other in self if other is not resident and other.gpu_bytes)

    def _victims(self, resident: Resident) -> tuple[list[Resident], bool]:
        """Idle models that have to go for `resident`, and whether that is enough."""
        others = [other for other in self if other is not resident]
        excess = [
            sum(sizes) - budget if budget else 0
            for *sizes, budget in zip(
                *(one.sizes for one in (*others, resident)), (self._budget, self.gpu_budget), strict=True
            )
        ]
        victims = []
        for other in sorted(others, key=lambda other: other.last_used):
            if other.is_idle and any(over > 0 < size for over, size in zip(excess, other.sizes, strict=True)):
                victims.append(other)
                excess = [over - size for over, size in zip(excess, other.sizes, strict=True)]
        return victims, max(excess) <= 0

    def _evict_all(self, victims: list[Resident], name: str) -> None:
        for victim in victims:
            log.info("model %s leaves memory to make room for %s", victim.info.id, name)
            self.evict(victim)

    def discard(self, resident: Resident) -> None:
        """Forget a model whose load failed."""
        if self._residents.get(resident.info.id) is resident:
            del self._residents[resident.info.id]

    def evict(self, resident: Resident) -> asyncio.Task[None]:
        """Take an idle model away at once; the task ends when its memory is free."""
        model_id = resident.info.id
        del self._residents[model_id]
        if resident.expiry:
            resident.expiry.cancel()
        engine, resident.engine = resident.engine, None
        assert engine is not None
        task = asyncio.create_task(self._pool.run(engine.close), name=f"closing {model_id}")
        self.leaving[task] = time.monotonic()
        task.add_done_callback(self._left)
        return task

    def _left(self, task: asyncio.Task[None]) -> None:
        """What did not close is gone all the same: nobody can use it again, and closing it twice is not safe."""
        del self.leaving[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error(
                "%s failed: %s: %s; some of its memory may stay taken", task.get_name(), type(error).__name__, error
            )

    async def settle(self, limit: float | None = None) -> None:
        """Wait until the memory of every model that has left is free, or for so many seconds."""
        if self.leaving:
            await asyncio.wait(list(self.leaving), timeout=limit)


def idle_seconds(info: ModelInfo, settings: Settings, *, kept: bool) -> float:
    """How long a model that nobody uses stays; negative: for ever, as one that is `kept`."""
    ttls = {
        STT: settings.stt_model_ttl,
        TTS: settings.tts_model_ttl,
        VAD: settings.vad_model_ttl,
        VOICES: settings.speaker_model_ttl,
        SEGMENTATION: settings.speaker_model_ttl,
        TURNS: settings.vad_model_ttl,
    }
    own = -1 if kept else ttls[info.task]
    return own if info.ttl is None else info.ttl


@contextmanager
def limited(resident: Resident, seconds: float) -> Iterator[None]:
    """After this time those who wait are told so; the work itself, in its thread, cannot be stopped."""
    timer = asyncio.get_running_loop().call_later(seconds, _set_overdue, resident)
    try:
        yield
    finally:
        timer.cancel()


def _set_overdue(resident: Resident) -> None:
    if not resident.overdue.done():
        resident.overdue.set_result(None)
