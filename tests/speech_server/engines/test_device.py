"""A GPU where one can be used; else the CPU, or an end with the reason: never one for the other unseen."""

from __future__ import annotations

import logging
from pathlib import Path

import ctranslate2
import pytest

from speech_server.engines.device import choose, ctranslate2_fault, is_given_a_gpu, onnxruntime_fault, prefer_cpu
from speech_server.engines.interfaces import EngineArgs
from speech_server.errors import GpuUnavailable
from tests.speech_server.stand_in_driver import StandInDriver, install

FAULT = "the library libx.so cannot be opened"


@pytest.fixture
def a_card(monkeypatch: pytest.MonkeyPatch) -> None:
    """CTranslate2 finds one wherever the driver shows one: it has opened none of CUDA's libraries by then."""
    monkeypatch.setattr(ctranslate2, "get_cuda_device_count", lambda: 1)


@pytest.mark.parametrize(
    ("visible", "files", "given"),
    [
        (None, ["nvidia0"], False),  # a machine of one's own
        ("", ["nvidia0"], False),
        ("void", ["nvidia0"], False),
        ("none", [], False),
        ("all", [], False),  # our image on a machine without a card
        ("all", ["nvidiactl", "nvidia-uvm"], False),
        ("all", ["nvidiactl", "nvidia0"], True),
        ("all", ["nvidia12"], True),
        ("all", ["dxg"], True),
        ("0", [], True),
        ("GPU-3b1c", [], True),  # Kubernetes
    ],
)
def test_whether_the_container_was_given_a_card(tmp_path: Path, visible: str | None, files: list[str], given: bool):
    for name in files:
        (tmp_path / name).touch()
    assert is_given_a_gpu({} if visible is None else {"NVIDIA_VISIBLE_DEVICES": visible}, tmp_path) is given


def test_a_gpu_that_can_be_used_is_used():
    assert choose(EngineArgs(), lambda: "") == "cuda"
    assert choose(EngineArgs("cuda"), lambda: "") == "cuda"


def test_where_the_cpu_is_asked_for_nobody_looks_for_a_gpu():
    def look() -> str:
        raise AssertionError

    assert choose(EngineArgs("cpu", require_gpu=True), look) == "cpu"


def test_without_one_it_is_the_cpu_unless_it_is_needed():
    assert choose(EngineArgs(), lambda: FAULT) == "cpu"
    with pytest.raises(GpuUnavailable, match=f"{FAULT}.*REQUIRE_GPU=false"):
        choose(EngineArgs(require_gpu=True), lambda: FAULT)
    with pytest.raises(GpuUnavailable, match=f"{FAULT}.*asked for is cuda; cpu works"):
        choose(EngineArgs("cuda"), lambda: FAULT)


def test_a_card_that_is_there_and_idle_is_told_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
):
    monkeypatch.setattr("speech_server.engines.device._DEV", tmp_path)
    with caplog.at_level(logging.WARNING):
        choose(EngineArgs(), lambda: FAULT)
        assert caplog.text == ""
        (tmp_path / "nvidia0").touch()
        assert choose(EngineArgs(), lambda: FAULT) == "cpu"
    assert FAULT in caplog.text


def test_models_that_gain_nothing_stay_on_the_cpu_unless_told():
    assert [prefer_cpu(EngineArgs(device)).device for device in ("auto", "cpu", "cuda")] == ["cpu", "cpu", "cuda"]


@pytest.mark.usefixtures("a_card")
def test_a_card_without_cudas_libraries_is_a_fault_before_the_first_multiplication(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("speech_server.engines.device._CUBLAS", "libcublas.so.none")
    assert "libcublas.so.none: cannot open" in ctranslate2_fault()
    assert "requirements/gpu.txt" in ctranslate2_fault()
    monkeypatch.setattr("speech_server.engines.device._CUBLAS", "libc.so.6")
    assert ctranslate2_fault() == ""


@pytest.mark.parametrize(
    ("driver", "words"),
    [
        (StandInDriver(refuses={"cuInit": 100}), "no CUDA-capable device is detected"),
        (StandInDriver(version=11_040), "CUDA 11.4"),
        (StandInDriver(cards=2), "shows 2 cards, CTranslate2 finds none"),
    ],
)
def test_why_there_is_no_card_is_the_drivers_to_say(monkeypatch: pytest.MonkeyPatch, driver: StandInDriver, words: str):
    monkeypatch.setattr(ctranslate2, "get_cuda_device_count", lambda: 0)
    install(monkeypatch, driver)
    assert words in ctranslate2_fault()


@pytest.mark.usefixtures("a_card")
def test_an_onnx_runtime_without_cuda_says_which_image_has_the_other():
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime is the one for CUDA")
    assert "was installed without CUDA" in onnxruntime_fault()
    assert "onnxruntime-gpu" in onnxruntime_fault()
