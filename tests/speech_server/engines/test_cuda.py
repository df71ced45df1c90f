"""What the driver says becomes a sentence for whoever has to put it right; what it is asked in passing ends nothing."""

from __future__ import annotations

import ctypes
import logging

import pytest

from speech_server.engines import cuda
from speech_server.engines.cuda import Card, Driver, find_cards, keep_freed_memory
from speech_server.engines.faults import explain
from speech_server.errors import DeviceFailed, GpuUnavailable, OutOfMemory
from tests.speech_server.stand_in_driver import GB, LOST, StandInDriver, install


def test_no_driver_in_the_container(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("speech_server.engines.cuda.LIBRARY", "libcuda.so.none")
    with pytest.raises(GpuUnavailable, match=r"libcuda\.so\.none: cannot open.*--gpus all.*NVIDIA_DRIVER_CAPABILITIES"):
        Driver()


@pytest.mark.parametrize(
    ("driver", "words"),
    [
        (StandInDriver(version=11_080), r"CUDA 11\.8, and CUDA 12 is needed"),
        (StandInDriver(refuses={"cuInit": 100}), r"cuInit with error 100: no CUDA-capable device"),
        (StandInDriver(refuses={"cuInit": 999}), r"error 999: which it does not explain"),
    ],
)
def test_a_driver_that_will_not_do(monkeypatch: pytest.MonkeyPatch, driver: StandInDriver, words: str):
    install(monkeypatch, driver)
    with pytest.raises(GpuUnavailable, match=words):
        Driver()


def test_a_card_by_its_name_and_its_memory(card: StandInDriver):
    assert find_cards([0]) == (Card(0, "NVIDIA L4", 20 * GB, 24 * GB),)


def test_free_memory_is_the_driver_s_and_what_a_pool_keeps_for_the_next(card: StandInDriver):
    assert cuda.memory_of([0]) == (20 * GB, 24 * GB)
    card.reserved, card.used = 5 * GB, 2 * GB
    assert cuda.memory_of([0]) == (23 * GB, 24 * GB)
    card.refuses = {"cuDeviceGetMemPool": 801}
    assert cuda.memory_of([0]) == (20 * GB, 24 * GB)


def test_the_context_that_all_share_is_held_once_and_left_as_it_was(card: StandInDriver):
    for _ in range(3):
        cuda.memory_of([0])
    assert (card.retained, card.current) == ([0], [])


def test_a_machine_without_a_card_has_none_to_ask():
    if cuda.find_driver() is not None:
        pytest.skip("there is one")
    assert cuda.memory_of([0]) is None
    assert not cuda.is_lost()


def test_a_driver_without_cards_is_none(monkeypatch: pytest.MonkeyPatch):
    install(monkeypatch, StandInDriver(0))
    assert cuda.find_driver() is None


def test_a_lost_gpu_answers_with_its_error_for_ever(card: StandInDriver):
    assert cuda.memory_of([0])
    assert not cuda.is_lost()
    card.error = LOST
    assert cuda.is_lost()
    assert cuda.memory_of([0]) is None
    assert card.current == []


def test_no_memory_on_a_lost_gpu_is_a_lost_gpu(card: StandInDriver):
    """ONNX Runtime's arena says the same of both."""
    cuda.memory_of([0])
    error = RuntimeError("Failed to allocate memory for requested buffer of size 1000")
    assert isinstance(explain(error), OutOfMemory)
    card.error = LOST
    assert isinstance(explain(error), DeviceFailed)


def test_no_card_is_asked_for_where_none_is_used(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ctypes, "CDLL", None)
    assert find_cards([]) == ()


def test_the_pool_keeps_half_of_each_card(monkeypatch: pytest.MonkeyPatch):
    driver = install(monkeypatch, StandInDriver(2))
    keep_freed_memory([0, 1])
    assert driver.thresholds == [12 * GB, 12 * GB]


@pytest.mark.parametrize(
    "refused", ["cuDeviceGetName", "cuDeviceTotalMem_v2", "cuMemPoolSetAttribute", "cuMemGetInfo_v2"]
)
def test_what_the_driver_refuses_in_passing_is_told_and_no_more(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, refused: str
):
    install(monkeypatch, StandInDriver(refuses={refused: 801}))
    with caplog.at_level(logging.WARNING):
        keep_freed_memory([0])
        find_cards([0])
    assert [record.levelname for record in caplog.records] == ["WARNING"] * len(caplog.records)
    assert f"{refused} with error 801: operation not supported" in caplog.text


@pytest.mark.gpu
def test_a_real_card():
    (card,) = find_cards([0])
    assert card.name
    assert 0 < card.free_bytes <= card.total_bytes
    keep_freed_memory([0])
