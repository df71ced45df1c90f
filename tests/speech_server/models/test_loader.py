"""The loader: one load per model, counted references, idle times, a memory budget; with engines made here."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from speech_server.errors import (
    Busy,
    LoadTimeout,
    ModelBroken,
    ModelInUse,
    ModelNotFound,
    ModelNotInstalled,
    ModelTooLarge,
    OutOfMemory,
    ShuttingDown,
    WrongTask,
)
from speech_server.models.disk.cache import Cache
from speech_server.models.library.catalog import Catalog
from speech_server.models.library.store import Store
from speech_server.models.loader import Loader
from speech_server.settings import Settings
from tests.speech_server.models.conftest import install, whisper_folder
from tests.speech_server.models.engines import LIMIT, MB, PIPER, WHISPER, Engine, Factory, until, using

pytestmark = pytest.mark.anyio

STT = "automatic-speech-recognition"
TTS = "text-to-speech"


# --- loading ---


async def test_a_model_is_loaded_on_first_use_and_shared_after(make_loader: Callable[..., Loader], factory: Factory):
    loader = make_loader()
    assert loader.loaded() == []
    async with loader.use(WHISPER, STT) as first, loader.use(WHISPER) as second:
        assert first is second is factory.made[0]
        (loaded,) = loader.loaded()
        assert (loaded.info.id, loaded.references, loaded.memory_bytes) == (WHISPER, 2, MB)
    async with loader.use(WHISPER) as third:
        assert third is first
    assert loader.loaded()[0].references == 0


async def test_many_requests_at_once_cause_one_load(make_loader: Callable[..., Loader], factory: Factory):
    loader, leave = make_loader(), asyncio.Event()
    factory.gate.clear()
    requests = [using(loader, WHISPER, leave) for _ in range(50)]
    await until(lambda: factory.calls == 1)
    factory.gate.set()  # the loop is free while the factory blocks, or this line would never come
    leave.set()
    assert set(await asyncio.gather(*requests)) == {factory.made[0]}
    assert factory.calls == 1


async def test_models_load_side_by_side(make_loader: Callable[..., Loader], factory: Factory):
    loader, leave = make_loader(), asyncio.Event()
    factory.gate.clear()
    requests = [using(loader, name, leave) for name in (WHISPER, PIPER, "a/kokoro")]
    await until(lambda: factory.calls == 3)
    factory.gate.set()
    leave.set()
    assert len(set(await asyncio.gather(*requests))) == 3


async def test_a_cancelled_wait_leaves_the_load_to_the_others(make_loader: Callable[..., Loader], factory: Factory):
    loader, leave = make_loader(), asyncio.Event()
    factory.gate.clear()
    impatient, patient = using(loader, WHISPER, leave), using(loader, WHISPER, leave)
    await until(lambda: factory.calls == 1)
    impatient.cancel()
    await asyncio.wait([impatient])
    factory.gate.set()
    leave.set()
    assert await patient is factory.made[0]
    assert factory.calls == 1
    assert loader.loaded()[0].references == 0


async def test_a_load_nobody_waits_for_any_more_is_kept(make_loader: Callable[..., Loader], factory: Factory):
    loader, leave = make_loader(), asyncio.Event()
    factory.gate.clear()
    request = using(loader, WHISPER, leave)
    await until(lambda: factory.calls == 1)
    request.cancel()
    await asyncio.wait([request])
    factory.gate.set()
    await until(lambda: loader.is_loaded(WHISPER))
    async with loader.use(WHISPER) as engine:
        assert engine is factory.made[0]


async def test_a_failed_load_fails_all_who_wait_and_is_tried_again_by_the_next(
    make_loader: Callable[..., Loader], factory: Factory
):
    loader, leave = make_loader(), asyncio.Event()
    factory.gate.clear()
    factory.error = ModelBroken("no model")
    requests = [using(loader, WHISPER, leave) for _ in range(3)]
    await until(lambda: factory.calls == 1)
    factory.gate.set()
    outcomes = await asyncio.gather(*requests, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ModelBroken] * 3
    assert loader.loaded() == []
    factory.error = None
    async with loader.use(WHISPER):
        assert factory.calls == 2


async def test_a_load_that_takes_too_long_fails_those_who_wait_but_is_not_started_twice(
    make_loader: Callable[..., Loader], factory: Factory
):
    loader = make_loader(model_load_timeout=0.05)
    factory.gate.clear()
    for _ in range(2):
        with pytest.raises(LoadTimeout, match="MODEL_LOAD_TIMEOUT"):
            await loader.load(WHISPER)
    assert factory.calls == 1
    factory.gate.set()
    await until(lambda: loader.is_loaded(WHISPER))
    async with loader.use(WHISPER):
        assert factory.calls == 1


async def test_an_unexpected_error_of_a_library_reaches_the_request(
    make_loader: Callable[..., Loader], factory: Factory
):
    factory.error = LookupError("no")
    with pytest.raises(LookupError):
        await make_loader().load(WHISPER)


@pytest.mark.parametrize("error", [MemoryError("no"), RuntimeError("CUDA failed with error out of memory")])
async def test_a_model_that_finds_no_memory_says_what_to_do_and_may_be_tried_again(
    make_loader: Callable[..., Loader], factory: Factory, error: Exception
):
    loader = make_loader()
    factory.error = error
    with pytest.raises(OutOfMemory, match="use a smaller model"):
        await loader.load(WHISPER)
    factory.error = None
    await loader.load(WHISPER)


# --- refusing ---


async def test_a_model_of_another_task_is_refused_before_it_is_loaded(
    make_loader: Callable[..., Loader], factory: Factory
):
    loader = make_loader()
    with pytest.raises(WrongTask, match=r"'a/piper' is not supported.*does text-to-speech, .*needs automatic"):
        loader.check(PIPER, STT)
    with pytest.raises(WrongTask):
        await enter(loader.use(PIPER, STT))
    assert factory.calls == 0
    assert loader.check(PIPER, TTS).id == PIPER


async def enter(context: object) -> object:
    async with context as engine:
        return engine


async def test_an_unknown_model_is_refused_with_the_way_to_get_it(
    make_loader: Callable[..., Loader], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    loader = make_loader(model_owners=["a"])
    with pytest.raises(ModelNotInstalled, match="You can download the model using `POST /v1/models/a/unknown`"):
        loader.check("a/unknown", STT)


async def test_a_known_model_nobody_can_deliver_is_refused(
    make_loader: Callable[..., Loader], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelNotInstalled, match="no source offers it"):
        make_loader().check("Systran/faster-whisper-large-v3", STT)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    with pytest.raises(ModelNotInstalled):
        make_loader(auto_download=False).check("Systran/faster-whisper-base", STT)
    assert make_loader().check("Systran/faster-whisper-base", STT).engine == "whisper"


async def test_aliases_and_ids_are_one_model(make_loader: Callable[..., Loader], cache: Cache, factory: Factory):
    install(cache, "Systran/faster-whisper-base")
    loader = make_loader()
    async with loader.use("openai/whisper-base"), loader.use("whisper-1"), loader.use("Systran/faster-whisper-base"):
        assert factory.calls == 1
    await loader.unload("whisper-base")
    assert factory.alive == []


# --- downloading ---


class SlowShelf:
    """A source that delivers when `gate` says."""

    def __init__(self, folder: Path) -> None:
        self.gate = threading.Event()
        self.asked = 0
        self._folder = folder

    def offers(self, model_id: str) -> bool:
        return True

    def fetch(self, model_id: str, cache: Cache, progress: Callable[[int, int | None, str], None]) -> None:
        from speech_server.models.sources.folder import Folder

        self.asked += 1
        assert self.gate.wait(LIMIT)
        Folder(self._folder).fetch(model_id, cache, progress)


async def test_a_known_model_is_downloaded_on_first_use_once_however_long_it_takes(
    cache: Cache, factory: Factory, tmp_path: Path
):
    settings = Settings(model_read_caches=[], int8_cache=False, model_load_timeout=1)
    catalog = Catalog(settings)
    shelf = SlowShelf(whisper_folder(tmp_path / "shelf"))
    loader = Loader(settings, catalog, Store(settings, catalog, {"hub": shelf}), {"whisper": factory})
    leave = asyncio.Event()
    requests = [using(loader, "openai/whisper-small", leave) for _ in range(3)]
    await until(lambda: shelf.asked == 1)
    await asyncio.sleep(1.1)  # longer than a load may take
    shelf.gate.set()
    leave.set()
    assert set(await asyncio.gather(*requests)) == {factory.made[0]}
    assert (shelf.asked, factory.calls) == (1, 1)
    assert loader.check("openai/whisper-small").size_bytes == 8  # measured, no longer the catalog's guess
    await loader.close()


async def test_a_download_that_takes_too_long_says_so_and_goes_on(cache: Cache, factory: Factory, tmp_path: Path):
    settings = Settings(model_read_caches=[], int8_cache=False, model_download_timeout=0.05)
    catalog = Catalog(settings)
    shelf = SlowShelf(whisper_folder(tmp_path / "shelf"))
    loader = Loader(settings, catalog, Store(settings, catalog, {"hub": shelf}), {"whisper": factory})
    for _ in range(2):
        with pytest.raises(LoadTimeout, match="MODEL_DOWNLOAD_TIMEOUT"):
            await loader.load("openai/whisper-small")
    shelf.gate.set()
    await until(lambda: loader.is_loaded("openai/whisper-small"))
    assert shelf.asked == 1
    await loader.close()


# --- leaving ---


async def test_an_idle_model_leaves_after_its_time_and_use_starts_it_anew(
    make_loader: Callable[..., Loader], factory: Factory
):
    loader = make_loader(stt_model_ttl=0.2)
    async with loader.use(WHISPER):
        await asyncio.sleep(0.3)
        assert loader.is_loaded(WHISPER)
    async with asyncio.timeout(LIMIT), loader.use(WHISPER):  # within the idle time
        assert factory.calls == 1
    await until(lambda: not loader.loaded() and factory.alive == [])


async def test_a_time_of_zero_means_at_once_and_minus_one_never(make_loader: Callable[..., Loader], factory: Factory):
    loader = make_loader(stt_model_ttl=0, tts_model_ttl=-1)
    await loader.load(WHISPER)
    await until(lambda: not loader.is_loaded(WHISPER))
    await loader.load(PIPER)
    await asyncio.sleep(0.05)
    assert loader.is_loaded(PIPER)


async def test_what_is_kept_does_not_leave_for_being_idle(make_loader: Callable[..., Loader], factory: Factory):
    loader = make_loader(stt_model_ttl=0, tts_model_ttl=0)
    await loader.keep(WHISPER)
    await loader.load(PIPER)
    await until(lambda: not loader.is_loaded(PIPER))  # its time is the same
    assert loader.is_loaded(WHISPER)
    async with loader.use(WHISPER):
        assert factory.calls == 2
    await loader.load(PIPER)
    await until(lambda: not loader.is_loaded(PIPER))
    assert loader.is_loaded(WHISPER)


async def test_but_for_room_and_on_request(make_loader: Callable[..., Loader], factory: Factory):
    loader = make_loader(stt_model_ttl=0, model_memory_mb=1)
    await loader.keep(WHISPER)
    await loader.load(PIPER)
    assert not loader.is_loaded(WHISPER)
    await loader.load(WHISPER)
    await loader.unload(WHISPER)
    await until(lambda: factory.alive == [])


async def test_unloading_frees_an_idle_model(make_loader: Callable[..., Loader], factory: Factory):
    loader = make_loader()
    await loader.load(WHISPER)
    await loader.unload(WHISPER)
    assert factory.alive == []
    with pytest.raises(ModelNotFound, match="is not loaded"):
        await loader.unload(WHISPER)


async def test_a_model_in_use_stays_where_it_is(make_loader: Callable[..., Loader], factory: Factory):
    loader = make_loader()
    async with loader.use(WHISPER) as engine:
        with pytest.raises(ModelInUse):
            await loader.unload(WHISPER)
        with pytest.raises(ModelInUse):
            await loader.remove(WHISPER)
        async with loader.use(WHISPER) as same:
            assert same is engine
    assert factory.alive == factory.made


async def test_a_model_that_is_still_loading_counts_as_in_use(make_loader: Callable[..., Loader], factory: Factory):
    loader, leave = make_loader(), asyncio.Event()
    factory.gate.clear()
    request = using(loader, WHISPER, leave)
    await until(lambda: factory.calls == 1)
    with pytest.raises(ModelInUse):
        await loader.unload(WHISPER)
    factory.gate.set()
    leave.set()
    await request


async def test_removing_unloads_and_deletes(make_loader: Callable[..., Loader], cache: Cache, factory: Factory):
    loader = make_loader()
    await loader.load(WHISPER)
    await loader.remove(WHISPER)
    assert factory.alive == []
    assert cache.folder(WHISPER) is None
    with pytest.raises(ModelNotInstalled):
        await loader.remove(WHISPER)


async def test_closing_frees_everything_and_refuses_newcomers(make_loader: Callable[..., Loader], factory: Factory):
    loader = make_loader()
    await loader.load(WHISPER)
    await loader.load(PIPER)
    await loader.close()
    assert factory.alive == []
    assert loader.loaded() == []
    with pytest.raises(ShuttingDown):
        await loader.load(WHISPER)


async def test_closing_ends_the_wait_for_loads_under_way(make_loader: Callable[..., Loader], factory: Factory):
    loader, leave = make_loader(), asyncio.Event()
    factory.gate.clear()
    request = using(loader, WHISPER, leave)
    await until(lambda: factory.calls == 1)
    await loader.close()
    with pytest.raises(ShuttingDown):
        await request
    factory.gate.set()


# --- the memory budget ---


async def test_the_least_recently_used_model_makes_room(make_loader: Callable[..., Loader], factory: Factory):
    factory.memory_bytes = 4 * MB
    loader = make_loader(model_memory_mb=9)
    await loader.load(WHISPER)
    await loader.load(PIPER)
    await loader.load(WHISPER)  # Piper is now the one not used for longest
    await loader.load("a/kokoro")
    assert {model.info.id for model in loader.loaded()} == {WHISPER, "a/kokoro"}
    await until(lambda: len(factory.alive) == 2)


async def test_a_load_waits_until_the_room_made_for_it_is_free(make_loader: Callable[..., Loader], factory: Factory):
    factory.memory_bytes = 6 * MB
    loader = make_loader(model_memory_mb=6)
    await loader.load(WHISPER)
    factory.closing.clear()
    loading = asyncio.create_task(loader.load(PIPER))
    await until(lambda: not loader.is_loaded(WHISPER))
    finished, _ = await asyncio.wait([loading], timeout=0.05)
    assert (finished, factory.calls) == (set(), 1)
    factory.closing.set()
    await loading
    assert (factory.calls, len(factory.alive)) == (2, 1)


async def test_what_is_in_use_never_makes_room(make_loader: Callable[..., Loader], factory: Factory):
    factory.memory_bytes = 6 * MB
    loader = make_loader(model_memory_mb=9)
    await loader.load(PIPER)
    await loader.unload(PIPER)  # now the loader knows what Piper takes
    async with loader.use(WHISPER) as engine:
        with pytest.raises(Busy, match="in use"):
            await loader.load(PIPER)
        assert loader.is_loaded(WHISPER)
        assert not engine.closed
    await loader.load(PIPER)
    assert [model.info.id for model in loader.loaded()] == [PIPER]


async def test_a_model_larger_than_the_budget_says_so(make_loader: Callable[..., Loader], factory: Factory):
    factory.memory_bytes = 10 * MB
    loader = make_loader(model_memory_mb=9)
    await loader.load(PIPER)
    await loader.unload(PIPER)
    with pytest.raises(ModelTooLarge, match="MODEL_MEMORY_MB"):
        await loader.load(PIPER)


async def test_a_model_larger_than_its_estimate_makes_others_leave_after_it_is_loaded(
    make_loader: Callable[..., Loader], factory: Factory
):
    loader = make_loader(model_memory_mb=9)
    await loader.load(PIPER)
    factory.memory_bytes = 9 * MB
    await loader.load(WHISPER)
    assert [model.info.id for model in loader.loaded()] == [WHISPER]


# --- all of it at once ---


@hypothesis_settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_no_order_of_events_closes_an_engine_in_use_or_keeps_two_of_a_model(seed: int):
    """Random requests, cancellations, unloads and idle times, within a budget for two of three models."""
    asyncio.run(storm(random.Random(seed)))


async def storm(chance: random.Random) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        cache = Cache(Path(folder))
        for name in ("a/one", "a/two", "a/three"):
            install(cache, name)
        settings = Settings(model_read_caches=[cache.root], model_memory_mb=5, stt_model_ttl=0.002)
        catalog = Catalog(settings)
        factory = Factory(2 * MB)
        loader = Loader(settings, catalog, Store(settings, catalog), {"whisper": factory})

        async def request(name: str) -> None:
            try:
                async with loader.use(name) as engine:
                    assert isinstance(engine, Engine)
                    for _ in range(chance.randrange(4)):
                        await asyncio.sleep(0.001)
                        assert not engine.closed
            except Busy:
                return

        async def meddle(name: str) -> None:
            try:
                await loader.unload(name)
            except (ModelInUse, ModelNotFound):
                return

        tasks: list[asyncio.Task[None]] = []
        for _ in range(40):
            name = chance.choice(("a/one", "a/two", "a/three"))
            act: Callable[[str], Awaitable[None]] = request if chance.random() < 0.8 else meddle
            tasks.append(asyncio.ensure_future(act(name)))
            if chance.random() < 0.2:
                chance.choice(tasks).cancel()
            await asyncio.sleep(chance.choice((0, 0, 0.001, 0.003)))
            folders = [engine.folder for engine in factory.alive]
            assert len(folders) == len(set(folders))
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} <= {type(None), asyncio.CancelledError}
        assert all(model.references == 0 for model in loader.loaded())
        await until(lambda: not loader.loaded() and not factory.alive)
        await loader.close()


async def test_a_model_whose_unload_nobody_waits_for_is_closed_before_it_loads_again(
    make_loader: Callable[..., Loader], factory: Factory
):
    loader = make_loader()
    await loader.load(WHISPER)
    factory.closing.clear()
    unloading = asyncio.ensure_future(loader.unload(WHISPER))
    await until(lambda: not loader.is_loaded(WHISPER))
    unloading.cancel()
    await asyncio.wait([unloading])
    loading = asyncio.ensure_future(loader.load(WHISPER))
    await asyncio.wait([loading], timeout=0.2)
    assert factory.calls == 1
    factory.closing.set()
    await loading
    assert len(factory.alive) == 1
