"""What every engine keeps to, of whatever kind: its bound, who leaves it, its end, and folders that are none."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import aclosing, suppress
from pathlib import Path

import pytest

from speech_server.engines.interfaces import EngineArgs
from speech_server.errors import Busy, ModelBroken, ShuttingDown, ThreadsExhausted
from tests.speech_server.engines.contracts import (
    test_segmenters,
    test_speakers,
    test_transcribers,
    test_turn_models,
    test_voice_detectors,
    test_voice_encoders,
)
from tests.speech_server.engines.contracts.subjects import Make, Subject, all_of, linked

pytestmark = pytest.mark.anyio

KINDS = (test_transcribers, test_speakers, test_voice_encoders, test_segmenters, test_turn_models, test_voice_detectors)
CASES: dict[str, Make] = {
    f"{kind.__name__.rpartition('.test_')[2]}-{name}": make for kind in KINDS for name, make in kind.CASES.items()
}
# Voice detectors are called from their users' threads.
QUEUED = {name: make for name, make in CASES.items() if not name.startswith("voice_detectors")}


def threads_of(subject: Subject) -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith(subject.name)}


async def test_it_says_how_much_memory_it_takes(subject: Subject):
    assert subject.engine.memory_bytes > 0


async def test_more_requests_than_it_may_have_are_busy_before_any_work(queued: Subject):
    engine = queued.open(workers=1, extra={"max_requests": 1})
    try:
        async with aclosing(queued.ask(engine)) as first, aclosing(queued.ask(engine)) as second:
            served, refused = await asyncio.gather(anext(first), anext(second), return_exceptions=True)
        assert not isinstance(served, BaseException)
        assert isinstance(refused, Busy)
        assert refused.retry_after is not None
        assert refused.retry_after >= 1
        async with aclosing(queued.ask(engine)) as third:
            await anext(third)
    finally:
        await asyncio.to_thread(engine.close)


async def test_who_leaves_early_leaves_nothing_behind(queued: Subject):
    engine = queued.engine

    async def leave() -> None:
        async with aclosing(queued.ask(engine)) as results:
            await anext(results)

    await leave()
    threads, tasks = threads_of(queued), asyncio.all_tasks()
    await asyncio.gather(*(leave() for _ in range(3)))
    waiting = [asyncio.create_task(all_of(queued.ask(engine))) for _ in range(4)]
    never_begun = [asyncio.create_task(all_of(queued.ask(engine))) for _ in range(4)]
    for task in never_begun:
        task.cancel()
    await asyncio.sleep(0)
    assert engine.batcher.lanes == len(waiting)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, *never_begun, return_exceptions=True)
    assert all(task.cancelled() for task in (*waiting, *never_begun))
    assert (engine.batcher.lanes, engine.batcher.waiting) == (0, 0)
    assert threads_of(queued) == threads
    assert asyncio.all_tasks() == tasks
    await leave()


async def test_closing_tells_who_waits_and_leaves_no_thread(queued: Subject):
    before = threads_of(queued)
    engine = queued.open(workers=2)
    assert threads_of(queued) > before
    async with aclosing(queued.ask(engine)) as results:
        await anext(results)
        await asyncio.to_thread(engine.close)
        with suppress(ShuttingDown):  # or it was all done
            await all_of(results)
    with pytest.raises(ShuttingDown):
        await anext(queued.ask(engine))
    assert threads_of(queued) == before


async def test_threads_that_cannot_start_are_an_error_that_leaves_none(
    queued: Subject, refuse_threads: Callable[[str, int], None]
):
    before = threads_of(queued)
    refuse_threads(queued.name, 1)
    with pytest.raises(ThreadsExhausted):
        queued.open(workers=2)
    assert threads_of(queued) == before


@pytest.mark.parametrize("content", [None, b"nothing of the kind"], ids=["missing", "damaged"])
async def test_a_folder_that_is_none_is_a_broken_model(subject: Subject, tmp_path: Path, content: bytes | None):
    before = threads_of(subject)
    for number, name in enumerate(subject.files):
        folder = linked(tmp_path / str(number), subject.folder, **{name.replace("/", "__"): content})
        with pytest.raises(ModelBroken):
            subject.load(folder, EngineArgs(workers=2))
    assert threads_of(subject) == before
