"""The loader when libraries fail, hang and raise while they close: others go on, and what hangs ends the server."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from speech_server.engines.queue.batching import Batcher
from speech_server.engines.queue.fair_queue import Work
from speech_server.errors import LoadTimeout, ShuttingDown
from speech_server.models.disk.cache import Cache
from speech_server.models.library.catalog import Catalog
from speech_server.models.library.store import Store
from speech_server.models.loader import Loader
from speech_server.models.watchdog import watch
from speech_server.settings import Settings
from tests.speech_server.models.conftest import install, whisper_folder
from tests.speech_server.models.engines import LIMIT, MB, PIPER, WHISPER, Factory, until, using
from tests.speech_server.models.test_loader import SlowShelf

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def open_in_the_end(factory: Factory) -> Iterator[None]:
    yield
    factory.gate.set()
    factory.closing.set()


async def ends_with(loader: Loader, caplog: pytest.LogCaptureFixture) -> str:
    """What the server says when it ends itself."""
    ended = asyncio.Event()
    async with asyncio.timeout(LIMIT):
        await watch(loader.trouble, ended.set)
    assert ended.is_set()
    (said,) = [record.getMessage() for record in caplog.records if record.levelno == logging.CRITICAL]
    return said


# --- what does not return ---


async def test_a_load_past_its_limit_fails_those_who_wait_and_ends_the_server(
    make_loader: Callable[..., Loader], factory: Factory, caplog: pytest.LogCaptureFixture
):
    loader = make_loader(model_load_timeout=0.05)
    factory.gate.clear()
    with pytest.raises(LoadTimeout):
        await loader.load(WHISPER)
    assert f"loading {WHISPER} has not returned" in await ends_with(loader, caplog)
    assert "MODEL_LOAD_TIMEOUT allows 0.05" in caplog.text


async def test_a_load_in_its_time_is_not_overdue(make_loader: Callable[..., Loader], factory: Factory):
    loader = make_loader()
    factory.gate.clear()
    loading = asyncio.create_task(loader.load(WHISPER))
    await until(lambda: factory.calls == 1)
    assert loader.trouble() is None
    factory.gate.set()
    await loading


async def test_a_load_in_line_is_late_for_who_waits_but_ends_no_server(
    make_loader: Callable[..., Loader], factory: Factory, cache: Cache
):
    """Only the time in the library counts: those in front may have been slow, each within its limit."""
    names = [f"a/number-{number}" for number in range(5)]
    for name in names:
        install(cache, name)
    loader, leave = make_loader(), asyncio.Event()
    factory.gate.clear()
    requests = [using(loader, name, leave) for name in names]
    await until(lambda: factory.calls == 4)
    assert len([resident for resident in loader._memory if resident.opening is None]) == 1
    factory.gate.set()
    leave.set()
    assert len(set(await asyncio.gather(*requests))) == 5


async def test_a_download_past_its_limit_ends_no_server(cache: Cache, factory: Factory, tmp_path: Path):
    settings = Settings(
        model_read_caches=[], int8_cache=False, model_download_timeout=0.01, model_load_timeout=0.01, shutdown_timeout=0
    )
    catalog = Catalog(settings)
    shelf = SlowShelf(whisper_folder(tmp_path / "shelf"))
    loader = Loader(settings, catalog, Store(settings, catalog, {"hub": shelf}), {"whisper": factory})
    with pytest.raises(LoadTimeout):
        await loader.load("openai/whisper-small")
    assert loader.trouble() is None
    shelf.gate.set()
    await until(lambda: loader.is_loaded("openai/whisper-small"))
    await loader.close()


async def test_a_batch_past_its_limit_ends_the_server(
    make_loader: Callable[..., Loader], factory: Factory, caplog: pytest.LogCaptureFixture
):
    loader, gate = make_loader(engine_step_timeout=0.05), threading.Event()

    def hang(batch: list[Work[str, str]]) -> None:
        gate.wait(LIMIT)

    async with loader.use(WHISPER) as engine:
        engine.batcher = Batcher(hang, name="hanging")
        assert loader.trouble() is None
        with engine.batcher.lane() as lane:
            lane.submit("a")
            assert f"a batch of {WHISPER} has not returned" in await ends_with(loader, caplog)
            assert "ENGINE_STEP_TIMEOUT allows 0.05" in caplog.text
    gate.set()
    engine.batcher.close()


async def test_an_engine_that_does_not_close_ends_the_server(
    make_loader: Callable[..., Loader], factory: Factory, caplog: pytest.LogCaptureFixture
):
    loader = make_loader(engine_step_timeout=0.05)
    await loader.load(WHISPER)
    factory.closing.clear()
    unloading = asyncio.create_task(loader.unload(WHISPER))
    assert f"closing {WHISPER} has not returned" in await ends_with(loader, caplog)
    factory.closing.set()
    await unloading


async def test_the_server_ends_in_its_time_whatever_does_not_close(
    make_loader: Callable[..., Loader], factory: Factory
):
    loader = make_loader(shutdown_timeout=0.05)
    await loader.load(WHISPER)
    factory.closing.clear()
    async with asyncio.timeout(LIMIT / 2):  # the engine would take longer
        await loader.close()
    assert factory.alive


async def test_a_hung_load_keeps_no_other_model_from_loading(make_loader: Callable[..., Loader], factory: Factory):
    loader, leave = make_loader(), asyncio.Event()
    factory.gate.clear()
    hung = using(loader, WHISPER, leave)
    await until(lambda: factory.calls == 1)
    shut, factory.gate = factory.gate, threading.Event()  # of the next load
    factory.gate.set()
    async with asyncio.timeout(LIMIT / 2), loader.use(PIPER):
        assert not loader.is_loaded(WHISPER)
    shut.set()
    leave.set()
    await hung


async def test_many_loads_at_once_take_a_bounded_number_of_threads(
    make_loader: Callable[..., Loader], factory: Factory, cache: Cache
):
    names = [f"a/number-{number}" for number in range(30)]
    for name in names:
        install(cache, name)
    loader, leave = make_loader(), asyncio.Event()
    factory.gate.clear()
    before = {thread for thread in threading.enumerate() if thread.name.startswith("load")}
    requests = [using(loader, name, leave) for name in names]
    await until(lambda: factory.calls >= 4)
    threads = {thread for thread in threading.enumerate() if thread.name.startswith("load")}
    assert len(threads - before) == factory.calls == 4
    factory.gate.set()
    leave.set()
    assert len(set(await asyncio.gather(*requests))) == 30


# --- what raises ---


async def test_a_load_whose_thread_cannot_start_fails_and_the_next_is_tried(
    make_loader: Callable[..., Loader], factory: Factory, monkeypatch: pytest.MonkeyPatch
):
    start, allowed = threading.Thread.start, [True, False]

    def limited(thread: threading.Thread) -> None:
        if thread.name.startswith("load_") and not (allowed.pop(0) if allowed else True):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    loader = make_loader()
    with pytest.raises(RuntimeError, match="can't start"):
        await loader.load(WHISPER)
    assert [*loader._memory] == []
    await loader.load(WHISPER)
    assert factory.calls == 1


async def test_an_engine_that_fails_to_close_is_gone_and_the_log_says_why(
    make_loader: Callable[..., Loader], factory: Factory, caplog: pytest.LogCaptureFixture
):
    factory.memory_bytes = 6 * MB
    loader = make_loader(model_memory_mb=6)
    await loader.load(WHISPER)
    factory.closing_error = RuntimeError("the device is lost")
    with pytest.raises(RuntimeError, match="the device is lost"):
        await loader.unload(WHISPER)
    await until(lambda: f"closing {WHISPER} failed: RuntimeError: the device is lost" in caplog.text)
    assert loader.loaded() == []
    await loader.load(PIPER)
    await loader.load(WHISPER)  # Piper makes room, and fails to close as well
    await until(lambda: f"closing {PIPER} failed" in caplog.text)
    assert [model.info.id for model in loader.loaded()] == [WHISPER]


async def test_an_engine_that_comes_after_the_end_is_closed(make_loader: Callable[..., Loader], factory: Factory):
    loader, leave = make_loader(), asyncio.Event()
    factory.gate.clear()
    request = using(loader, WHISPER, leave)
    await until(lambda: factory.calls == 1)
    await loader.close()
    with pytest.raises(ShuttingDown):
        await request
    factory.gate.set()
    await until(lambda: bool(factory.made) and not factory.alive)
