"""What a loaded model takes of a GPU is what the GPU has less, and the memory budget there goes by it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from speech_server.errors import Busy, ModelTooLarge
from speech_server.models.loader import Loader
from tests.speech_server.models.engines import MB, PIPER, WHISPER, Factory, until, using
from tests.speech_server.stand_in_driver import GB, StandInDriver

pytestmark = pytest.mark.anyio
KOKORO = "a/kokoro"


def takes(card: StandInDriver, size: int) -> Callable[[], None]:
    def take() -> None:
        card.free -= size

    return take


async def test_a_model_weighs_what_the_gpu_has_less_and_what_it_works_with(
    make_loader: Callable[..., Loader], factory: Factory, card: StandInDriver
):
    loader = make_loader()
    factory.takes, factory.gpu_workspace = takes(card, 3 * GB), 5 * GB
    await loader.load(WHISPER)
    assert [(model.gpu_bytes, model.memory_bytes) for model in loader.loaded()] == [(8 * GB, MB)]


async def test_without_a_gpu_nothing_is_taken_of_one(make_loader: Callable[..., Loader], factory: Factory):
    loader = make_loader()
    await loader.load(WHISPER)
    assert loader.loaded()[0].gpu_bytes == 0


async def test_beside_one_that_works_the_file_s_size_has_to_do(
    make_loader: Callable[..., Loader], factory: Factory, card: StandInDriver
):
    loader, leave = make_loader(), asyncio.Event()
    factory.takes = takes(card, 3 * GB)
    working = using(loader, WHISPER, leave)
    await until(lambda: loader.is_loaded(WHISPER))
    factory.takes = takes(card, 9 * GB)  # its batch, as it may be
    await loader.load(PIPER)
    sizes = {model.info.id: model.gpu_bytes for model in loader.loaded()}
    assert sizes == {WHISPER: 3 * GB, PIPER: loader.check(PIPER).size_bytes}
    leave.set()
    await working


async def test_the_model_unused_for_longest_leaves_the_gpu(
    make_loader: Callable[..., Loader], factory: Factory, card: StandInDriver
):
    """Of 24 GB nine tenths may be taken: two of 8, not three."""
    loader = make_loader()
    factory.takes, factory.gpu_workspace = takes(card, 3 * GB), 5 * GB
    for name in (WHISPER, PIPER, KOKORO):
        await loader.load(name)
    assert {model.info.id for model in loader.loaded()} == {PIPER, KOKORO}


async def test_one_that_would_need_the_place_of_one_in_use_waits(
    make_loader: Callable[..., Loader], factory: Factory, card: StandInDriver
):
    loader, leave = make_loader(), asyncio.Event()
    factory.takes = takes(card, 15 * GB)
    await loader.load(PIPER)
    await loader.unload(PIPER)
    card.free = 20 * GB
    working = using(loader, WHISPER, leave)
    await until(lambda: loader.is_loaded(WHISPER))
    with pytest.raises(Busy):
        await loader.load(PIPER)
    leave.set()
    await working
    await loader.load(PIPER)
    assert [model.info.id for model in loader.loaded()] == [PIPER]


async def test_one_larger_than_the_gpu_says_so(
    make_loader: Callable[..., Loader], factory: Factory, card: StandInDriver
):
    loader = make_loader()
    factory.takes, factory.gpu_workspace = takes(card, 3 * GB), 20 * GB
    await loader.load(WHISPER)
    await loader.unload(WHISPER)
    with pytest.raises(ModelTooLarge, match=r"23000 MB of a GPU's memory, which has room for 21600: use a larger one"):
        await loader.load(WHISPER)
