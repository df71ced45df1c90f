"""Sessions: stopped by whoever wants, on the device that suits the file, on a GPU only if they say so themselves."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
import onnxruntime
import pytest
from onnxruntime.capi.onnxruntime_pybind11_state import Fail

from speech_server.engines.interfaces import EngineArgs, Placement
from speech_server.engines.onnx import (
    Stop,
    StoppableSession,
    is_on_gpu,
    is_quantized,
    open_session,
    placement_of,
    providers_for,
    try_convolution,
    wants_gpu,
)
from speech_server.errors import GpuUnavailable, ModelBroken
from tests.conftest import PIPER
from tests.speech_server.conftest import model_folder
from tests.speech_server.networks import quantized

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
REQUIRED = EngineArgs(require_gpu=True)
INPUTS = {
    "input": np.ones((1, 20), np.int64),
    "input_lengths": np.array([20], np.int64),
    "scales": np.array([0.6, 1.0, 0.8], np.float32),
}


@pytest.fixture(scope="module")
def model() -> Path:
    return model_folder(PIPER) / "model.onnx"


@pytest.fixture(scope="module")
def session(model: Path) -> StoppableSession:
    return StoppableSession(open_session(model, 1))


left_out = pytest.mark.filterwarnings("ignore:Specified provider 'CUDAExecutionProvider':UserWarning")


def test_a_set_stop_ends_the_runs_of_its_thread_and_no_others(session: StoppableSession):
    stop = Stop()
    with stop:
        assert session.run(None, INPUTS)
        stop.set()
        with pytest.raises(Fail, match="terminate"):
            session.run(None, INPUTS)
    assert session.run(None, INPUTS)


@pytest.mark.parametrize("content", [b"", b"this is no model", None])
@pytest.mark.parametrize("args", [EngineArgs("cpu"), EngineArgs()])
def test_a_file_that_is_no_model_is_broken(tmp_path: Path, content: bytes | None, args: EngineArgs):
    model = tmp_path / "model.onnx"
    if content is not None:
        model.write_bytes(content)
    with pytest.raises(ModelBroken, match=r"model\.onnx"):
        open_session(model, 1, args)


# --- which device ---


@pytest.mark.parametrize("args", [EngineArgs("cuda"), REQUIRED])
def test_a_gpu_that_is_needed_and_not_there_is_an_error_that_says_so(model: Path, args: EngineArgs):
    if ctranslate2.get_cuda_device_count():
        assert is_on_gpu(open_session(model, 1, args))
        return
    with pytest.raises(GpuUnavailable, match="onnxruntime-gpu"):
        open_session(model, 1, args)


@pytest.mark.usefixtures("looks_usable")
def test_int8_stays_on_the_cpu_beside_a_gpu_and_does_without_one(tmp_path: Path, model: Path):
    small = quantized(tmp_path / "small.onnx")
    assert (is_quantized(small), is_quantized(model)) == (True, False)
    assert (wants_gpu(small, EngineArgs()), wants_gpu(model, EngineArgs())) == (False, True)
    assert (wants_gpu(small, REQUIRED), wants_gpu(model, REQUIRED)) == (False, True)
    assert wants_gpu(small, EngineArgs("cuda"))  # the operator's own wish
    assert open_session(small, 1, REQUIRED).get_providers() == [CPU]


def test_on_a_machine_without_a_gpu_the_file_is_not_read_for_it(monkeypatch: pytest.MonkeyPatch, model: Path):
    monkeypatch.setattr("speech_server.engines.onnx.is_quantized", None)
    monkeypatch.setattr(ctranslate2, "get_cuda_device_count", lambda: 0)
    assert not wants_gpu(model, EngineArgs())


@left_out
@pytest.mark.usefixtures("looks_usable")
@pytest.mark.parametrize(("args", "way_out"), [(EngineArgs("cuda"), "cpu works"), (REQUIRED, "REQUIRE_GPU=false")])
def test_a_provider_that_the_runtime_left_out_is_an_error(model: Path, args: EngineArgs, way_out: str):
    with pytest.raises(GpuUnavailable, match=f"runs .* on {CPU}, not on the GPU: .*{way_out}"):
        open_session(model, 1, args)


@left_out
@pytest.mark.usefixtures("looks_usable")
def test_or_a_warning_where_the_cpu_will_do(model: Path, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING):
        session = open_session(model, 1, EngineArgs())
    assert "not on the GPU" in caplog.text
    assert StoppableSession(session).run(None, INPUTS)


@left_out
@pytest.mark.usefixtures("looks_usable")
def test_the_reason_is_the_library_that_is_missing(model: Path):
    """The provider's own library is not part of the runtime for CPUs."""
    with pytest.raises(GpuUnavailable, match=r"libonnxruntime_providers_cuda\.so: cannot open shared object"):
        open_session(model, 1, REQUIRED)


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A runtime whose CUDA provider cannot be made: it raises, and would go on without it if it were let."""
    real = onnxruntime.InferenceSession

    def make(content: Any, options: Any, *, providers: list[tuple[str, Any]], enable_fallback: int = 1) -> Any:
        if providers[0][0] == CUDA:
            assert not enable_fallback
            raise RuntimeError("CUDA failure 35: driver version is insufficient")
        return real(content, options, providers=providers)

    monkeypatch.setattr(onnxruntime, "InferenceSession", make)


@pytest.mark.usefixtures("looks_usable", "refusing")
def test_a_provider_that_fails_is_an_error_or_a_warning_with_its_words(model: Path, caplog: pytest.LogCaptureFixture):
    with pytest.raises(GpuUnavailable, match=r"CUDA failure 35.*REQUIRE_GPU=false"):
        open_session(model, 1, REQUIRED)
    with caplog.at_level(logging.WARNING):
        assert open_session(model, 1, EngineArgs()).get_providers() == [CPU]
    assert "CUDA failure 35" in caplog.text


def test_the_convolution_for_trying_is_one():
    try_convolution(EngineArgs("cpu"))


def test_the_cards_memory_is_bounded_and_the_users_options_win():
    theirs = EngineArgs(provider_options={CUDA: {"cudnn_conv_algo_search": "HEURISTIC"}, CPU: {"a": 1}})
    (cuda, options), (cpu, others) = providers_for(theirs, cuda=True, weights=300_000_000)
    assert (cuda, cpu) == (CUDA, CPU)
    assert options["arena_extend_strategy"] == "kSameAsRequested"
    assert 300_000_000 < options["gpu_mem_limit"] < 8 << 30
    assert options["cudnn_conv_algo_search"] == "HEURISTIC"
    assert others == {"a": 1}
    assert providers_for(theirs, cuda=False) == [(CPU, {"a": 1})]


# --- what it says of itself ---


class Claiming:
    """A session that says it is on a GPU, and counts who is in it."""

    def __init__(self, inside: Callable[[], None]) -> None:
        self._inside = inside

    def get_providers(self) -> list[str]:
        return [CUDA, CPU]

    def get_provider_options(self) -> dict[str, dict[str, str]]:
        return {CUDA: {"device_id": "1"}, CPU: {}}

    def run(self, *_: Any) -> list[Any]:
        self._inside()
        return []


def test_the_placement_is_the_sessions_own_word(session: StoppableSession):
    assert placement_of(session, workers=2, threads=1) == Placement("cpu", 2, 1, providers=(CPU,))
    claiming: Any = Claiming(lambda: None)
    assert placement_of(claiming, workers=2, threads=1) == Placement("cuda", 2, 1, providers=(CUDA, CPU), gpus=(1,))


def test_on_a_gpu_threads_take_turns_in_a_session():
    entered, inside, most = threading.Barrier(4), 0, 0

    def look() -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        for _ in range(1000):  # long enough for another to come in, if it could
            most = max(most, inside)
        inside -= 1

    session = StoppableSession(Claiming(look))  # type: ignore[arg-type]

    def call() -> None:
        entered.wait(10)
        for _ in range(50):
            session.run(None, {})

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert most == 1
