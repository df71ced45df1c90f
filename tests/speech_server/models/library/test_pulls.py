"""One pull per model, whoever asks; a bounded number at once and in line."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from speech_server.errors import Busy, ShuttingDown, SourceUnavailable
from speech_server.models.catalog.info import ModelInfo
from speech_server.models.disk.cache import Progress
from speech_server.models.library.pulls import Pulls, Step

pytestmark = pytest.mark.anyio
LIMIT = 10.0


class Store:
    """Pulls when `gate` says, and counts."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.pulled: list[str] = []
        self.running = 0
        self.most = 0
        self.error: SourceUnavailable | None = None
        self._lock = threading.Lock()

    def pull(self, model_id: str, progress: Progress) -> ModelInfo:
        with self._lock:
            self.pulled.append(model_id)
            self.running += 1
            self.most = max(self.most, self.running)
        progress(1, 2, "downloading")
        assert self.gate.wait(LIMIT)
        with self._lock:
            self.running -= 1
        if self.error:
            raise self.error
        return ModelInfo(model_id, "whisper")


@pytest.fixture
def store() -> Store:
    return Store()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT):
        while not condition():  # noqa: ASYNC110  # threads have no event for it
            await asyncio.sleep(0.001)


async def test_all_who_ask_for_a_model_share_one_pull(store: Store):
    pulls = Pulls(store.pull, 2, 8)
    asking = [asyncio.create_task(pulls.wait("a/b")) for _ in range(300)]
    await until(lambda: bool(store.pulled))
    assert "a/b" in pulls
    store.gate.set()
    assert {model.id for model in await asyncio.gather(*asking)} == {"a/b"}
    assert store.pulled == ["a/b"]
    assert "a/b" not in pulls


async def test_pulls_beyond_the_line_are_refused(store: Store):
    pulls = Pulls(store.pull, 2, 3)
    asking = [asyncio.create_task(pulls.wait(f"a/{number}")) for number in range(100)]
    await until(lambda: store.running == 2)
    refused = [task.exception() for task in asking if task.done()]
    assert [type(error) for error in refused] == [Busy] * 95
    assert "2 models are being downloaded and 3 wait" in str(refused[0])
    store.gate.set()
    await asyncio.wait(asking)
    assert (len(store.pulled), store.most) == (5, 2)


async def test_who_comes_later_sees_how_far_it_is(store: Store):
    pulls = Pulls(store.pull, 1, 0)
    first = asyncio.create_task(pulls.wait("a/b"))
    await until(lambda: bool(store.pulled))
    steps = pulls.steps("a/b")
    assert await anext(steps) == Step(1, 2, "downloading")
    store.gate.set()
    assert [step async for step in steps] == []
    await first


async def test_a_pull_goes_on_when_those_who_asked_have_gone_and_serves_the_next(store: Store):
    pulls = Pulls(store.pull, 1, 0)
    gone = asyncio.create_task(pulls.wait("a/b"))
    await until(lambda: bool(store.pulled))
    gone.cancel()
    await asyncio.wait([gone])
    later = asyncio.create_task(pulls.wait("a/b"))
    store.gate.set()
    assert (await later).id == "a/b"
    assert store.pulled == ["a/b"]


async def test_a_pull_in_line_that_nobody_wants_any_more_leaves_it(store: Store):
    pulls = Pulls(store.pull, 1, 1)
    running = asyncio.create_task(pulls.wait("a/1"))
    await until(lambda: bool(store.pulled))
    for _ in range(20):
        gone = asyncio.create_task(pulls.wait("a/2"))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.wait([gone])
    assert "a/2" not in pulls
    kept = asyncio.create_task(pulls.wait("a/3"))
    store.gate.set()
    await asyncio.gather(running, kept)
    assert store.pulled == ["a/1", "a/3"]


async def test_a_failure_reaches_all_and_the_next_who_asks_tries_again(store: Store):
    pulls = Pulls(store.pull, 1, 0)
    store.error = SourceUnavailable("down")
    asking = [asyncio.create_task(pulls.wait("a/b")) for _ in range(3)]
    await until(lambda: bool(store.pulled))
    store.gate.set()
    outcomes = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [SourceUnavailable] * 3
    store.error = None
    assert (await pulls.wait("a/b")).id == "a/b"


async def test_closing_ends_every_wait(store: Store):
    pulls = Pulls(store.pull, 1, 1)
    asking = [asyncio.create_task(pulls.wait(f"a/{number}")) for number in range(2)]
    await until(lambda: bool(store.pulled))
    pulls.close()
    outcomes = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ShuttingDown] * 2
    store.gate.set()


async def test_threads_that_cannot_start_leave_nothing_behind(store: Store, monkeypatch: pytest.MonkeyPatch):
    pulls, start = Pulls(store.pull, 1, 0), threading.Thread.start
    allowed: list[bool] = []

    def limited(thread: threading.Thread) -> None:
        if thread.name.startswith("pull_") and not allowed:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    with pytest.raises(RuntimeError):
        await pulls.wait("a/b")
    assert "a/b" not in pulls
    allowed.append(True)
    store.gate.set()
    assert (await pulls.wait("a/b")).id == "a/b"
