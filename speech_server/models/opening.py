"""Opens a model's engine, and weighs it: what a GPU has less of afterwards, where nothing else runs there meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from speech_server.engines.cuda import memory_of
from speech_server.engines.faults import explained
from speech_server.engines.interfaces import Engine, EngineFactory
from speech_server.errors import ModelNotInstalled
from speech_server.models.catalog.info import EngineName, ModelInfo
from speech_server.models.library.store import Store
from speech_server.models.memory import Resident
from speech_server.models.placing import try_out

_one_by_one = threading.Lock()  # the differences over two loads at once tell nothing of either


class Weight(NamedTuple):
    """Bytes of a GPU's memory: what the engine takes there, working (0: nothing), and what all may take."""

    taken: int = 0
    budget: int = 0


class Opener:
    def __init__(self, store: Store, factories: Mapping[EngineName, EngineFactory], warm_up_timeout: float) -> None:
        self._store = store
        self._factories = factories
        self._warm_up_timeout = warm_up_timeout

    def open(self, resident: Resident, is_quiet: Callable[[], bool]) -> tuple[Engine, Weight]:
        """Blocking. `is_quiet` says whether no other engine has work on a GPU now.

        Raises ModelNotInstalled, ModelBroken, GpuUnavailable, OutOfMemory, DeviceFailed.
        """
        return weigh(partial(self._make, resident), resident.info, is_quiet)

    def _make(self, resident: Resident) -> Engine:
        info = resident.info
        resident.opening = time.monotonic()
        try:
            folder = self._store.loadable_folder(info)
            if folder is None:
                raise ModelNotInstalled(info.id, "removed while it was loading")
            with explained():
                engine = self._factories[info.engine](folder, info.args)
                resident.cards = try_out(engine, info.id, self._warm_up_timeout)
                return engine
        finally:
            resident.opening = None


def weigh(load: Callable[[], Engine], info: ModelInfo, is_quiet: Callable[[], bool]) -> tuple[Engine, Weight]:
    """While another engine works, its batch would be taken for a part of this: then the file's size has to do."""
    gpus = info.args.gpus
    if info.args.device == "cpu" or memory_of(gpus) is None:
        return load(), Weight()
    with _one_by_one:
        before, was_quiet = memory_of(gpus), is_quiet()
        engine = load()
        after, tells = memory_of(gpus), was_quiet and is_quiet()
    taken = max(before.free - after.free, 0) if before and after and tells else info.size_bytes
    # Contexts, the libraries' own, and fragments: a tenth is nobody's.
    budget = after.total * 9 // 10 if after else 0
    return engine, Weight(taken + getattr(engine, "gpu_workspace", 0), budget)
