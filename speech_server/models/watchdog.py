"""Ends the server when a library does not return, or has lost its GPU: only a new process can use them again."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from speech_server.errors import DeviceFailed
    from speech_server.models.memory import Memory
    from speech_server.settings import Settings

log = logging.getLogger(__name__)

_EVERY = 1.0  # seconds


async def watch(trouble: Callable[[], str | None], stop: Callable[[], None] | None) -> None:
    """Ask until there is trouble; then say so and call `stop`."""
    while (fault := trouble()) is None:  # noqa: ASYNC110 - a clock, not an event
        await asyncio.sleep(_EVERY)
    log.critical("%s: the server ends, for another to take its place", fault)
    if stop:
        stop()


def find_overdue(memory: Memory, settings: Settings) -> str | None:
    """The first call into a library that has taken longer than it may, in words. Downloads have a limit of their own,
    and no part in this: they are given up, not interrupted."""
    limits = {"MODEL_LOAD_TIMEOUT": settings.model_load_timeout, "ENGINE_STEP_TIMEOUT": settings.engine_step_timeout}
    for what, seconds, limit in _under_way(memory):
        if seconds > limits[limit]:
            late = f"{what} has not returned in {seconds:.0f} s, {limit} allows {limits[limit]:g}"
            return f"{late}; it cannot be interrupted"
    return None


def find_fault(memory: Memory) -> DeviceFailed | None:
    """What an engine's library said when it lost its GPU."""
    return next((resident.queue.fault for resident in memory if resident.queue and resident.queue.fault), None)


def _under_way(memory: Memory) -> Iterator[tuple[str, float, str]]:
    now = time.monotonic()
    for resident in memory:
        if (opening := resident.opening) is not None:  # cleared by another thread
            yield f"loading {resident.info.id}", now - opening, "MODEL_LOAD_TIMEOUT"
        if (queue := resident.queue) is not None:
            yield f"a batch of {resident.info.id}", queue.step_seconds, "ENGINE_STEP_TIMEOUT"
    for task, since in memory.leaving.items():  # a batch that was under way is part of it
        yield task.get_name(), now - since, "ENGINE_STEP_TIMEOUT"
