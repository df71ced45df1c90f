"""Where a model runs is found out, tried and told before somebody waits for it."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import ctranslate2
import onnxruntime
import pytest

from speech_server.engines.cuda import Card
from speech_server.engines.interfaces import EngineArgs, Placement
from speech_server.errors import GpuUnavailable
from speech_server.models.loader import Loader
from speech_server.models.placing import check_gpu, described, told, try_out
from speech_server.settings import Settings
from tests.speech_server.models.engines import WHISPER, Engine, Factory
from tests.speech_server.stand_in_driver import StandInDriver, install

L4 = Card(0, "NVIDIA L4", 17_900_000_000, 23_000_000_000)
ON_GPU = Placement("cuda", 2, 1, "float16", gpus=(0,))


class Trying(Engine):
    """An engine with as many steps as one has patience for; `fails` at one of them."""

    placement = ON_GPU

    def __init__(self, factory: Factory, fails: int = -1) -> None:
        super().__init__(Path(), factory)
        self.tried = 0
        self._fails = fails

    def rehearse(self) -> Iterator[str]:
        for number in itertools.count():
            if number == self._fails:
                raise GpuUnavailable("no kernel image is available")
            self.tried += 1
            yield f"step {number}"


# --- for the log and for replies ---


@pytest.mark.parametrize(
    ("placement", "cards", "line"),
    [
        (None, (), ""),
        (Placement("cpu", 1, 2, "int8"), (), ": cpu, int8, 1 worker of 2 threads"),
        (ON_GPU, (L4,), ": cuda (NVIDIA L4, 17.9 of 23.0 GB free), float16, 2 workers of 1 thread"),
        (ON_GPU, (), ": cuda (GPU 0), float16, 2 workers of 1 thread"),
        (
            Placement("cpu", 2, 1, providers=("CPUExecutionProvider",)),
            (),
            ": cpu, CPUExecutionProvider, 2 workers of 1 thread",
        ),
    ],
)
def test_one_line_says_where_a_model_runs(placement: Placement | None, cards: tuple[Card, ...], line: str):
    assert told(placement, cards) == line


def test_replies_have_the_same_by_name():
    assert described(ON_GPU, [L4]) == {
        "device": "cuda",
        "compute_type": "float16",
        "providers": [],
        "workers": 2,
        "threads": 1,
        "gpus": [{"name": "NVIDIA L4", "free_bytes": L4.free_bytes, "total_bytes": L4.total_bytes}],
    }


# --- trying out ---


def test_a_rehearsal_ends_with_its_time_and_says_so(factory: Factory, caplog: pytest.LogCaptureFixture):
    engine = Trying(factory)
    with caplog.at_level(logging.WARNING):
        try_out(engine, "a/model", 0.01)
    assert engine.tried > 0
    assert not engine.closed
    assert "WARM_UP_TIMEOUT" in caplog.text


def test_without_time_there_is_none(factory: Factory):
    engine = Trying(factory, fails=0)
    try_out(engine, "a/model", 0)
    assert engine.tried == 0


def test_what_fails_is_closed_and_said(factory: Factory):
    engine = Trying(factory, fails=2)
    with pytest.raises(GpuUnavailable, match="no kernel image"):
        try_out(engine, "a/model", 60)
    assert (engine.tried, engine.closed) == (2, True)


def test_the_cards_are_asked_when_the_engine_has_taken_its_memory(factory: Factory, monkeypatch: pytest.MonkeyPatch):
    install(monkeypatch, StandInDriver())
    (card,) = try_out(Trying(factory), "a/model", 0)
    assert (card.name, card.number) == ("NVIDIA L4", 0)
    assert try_out(Engine(Path(), factory), "a/model", 60) == ()


@pytest.mark.anyio
async def test_a_model_that_fails_its_rehearsal_is_not_loaded_and_the_log_says_where_one_runs(
    make_loader: Callable[..., Loader], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    install(monkeypatch, StandInDriver())
    loader, fails = make_loader(warm_up_timeout=0.001), 0
    made: list[Trying] = []

    def make(folder: Path, args: EngineArgs) -> Trying:
        made.append(Trying(Factory(), fails))
        return made[-1]

    monkeypatch.setitem(loader._opener._factories, "whisper", make)  # type: ignore[arg-type]
    with pytest.raises(GpuUnavailable):
        await loader.load(WHISPER)
    assert (loader.loaded(), made[0].closed) == ([], True)
    fails = -1
    with caplog.at_level(logging.INFO):
        await loader.load(WHISPER)
    assert f"model {WHISPER} loaded in" in caplog.text
    assert " of a GPU: cuda (NVIDIA L4, 20.0 of 24.0 GB free), float16, 2 workers of 1 thread" in caplog.text
    (model,) = loader.loaded()
    assert (model.placement, [card.name for card in model.cards]) == (ON_GPU, ["NVIDIA L4"])


# --- at the server's start ---


REQUIRED = Settings(require_gpu="true")
NO_CUDA = {"exclude_providers": ["CUDAExecutionProvider"]}


@pytest.fixture
def a_card(monkeypatch: pytest.MonkeyPatch) -> None:
    if ctranslate2.get_cuda_device_count():
        pytest.skip("there is a real one")
    install(monkeypatch, StandInDriver())
    monkeypatch.setattr(ctranslate2, "get_cuda_device_count", lambda: 1)
    monkeypatch.setattr("speech_server.engines.device._CUBLAS", "libc.so.6")
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )


def test_no_device(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ctranslate2, "get_cuda_device_count", lambda: 0)
    install(monkeypatch, StandInDriver(refuses={"cuInit": 100}))
    with pytest.raises(GpuUnavailable, match=r"no CUDA-capable device.*REQUIRE_GPU=false"):
        check_gpu(REQUIRED)


@pytest.mark.usefixtures("a_card")
def test_a_library_is_missing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("speech_server.engines.device._CUBLAS", "libcublas.so.none")
    with pytest.raises(GpuUnavailable, match=r"libcublas\.so\.none.*REQUIRE_GPU=false"):
        check_gpu(REQUIRED)


@pytest.mark.filterwarnings("ignore:Specified provider 'CUDAExecutionProvider':UserWarning")
@pytest.mark.usefixtures("a_card")
def test_the_provider_falls_back():
    with pytest.raises(GpuUnavailable, match=r"not on the GPU: .*libonnxruntime_providers_cuda.*REQUIRE_GPU=false"):
        check_gpu(REQUIRED)


@pytest.mark.usefixtures("a_card")
def test_a_card_that_can_be_used_is_named_in_the_log(caplog: pytest.LogCaptureFixture):
    """Speech is told to stay on the CPU: there is no runtime here that a session could have CUDA of."""
    settings = Settings(require_gpu="true", unstable_ort_opts=NO_CUDA)
    with caplog.at_level(logging.INFO):
        check_gpu(settings)
    assert "the GPU can be used: NVIDIA L4, 20.0 of 24.0 GB free" in caplog.text


def test_where_everything_is_told_to_use_the_cpu_no_gpu_is_missing():
    check_gpu(Settings(require_gpu="true", whisper={"inference_device": "cpu"}, unstable_ort_opts=NO_CUDA))
