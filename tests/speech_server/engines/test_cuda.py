"""What the driver says becomes a sentence for whoever has to put it right; what it is asked in passing ends nothing."""

from __future__ import annotations

import ctypes
import logging

import pytest

from speech_server.engines.cuda import Card, Driver, find_cards, keep_freed_memory
from speech_server.errors import GpuUnavailable
from tests.speech_server.stand_in_driver import GIGABYTE, StandInDriver, install


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


def test_a_card_by_its_name_and_its_memory(monkeypatch: pytest.MonkeyPatch):
    driver = install(monkeypatch, StandInDriver())
    assert find_cards([0]) == (Card(0, "NVIDIA L4", 20 * GIGABYTE, 24 * GIGABYTE),)
    assert driver.held == 0


def test_a_context_is_let_go_when_the_driver_refuses_to_use_it(monkeypatch: pytest.MonkeyPatch):
    driver = install(monkeypatch, StandInDriver(refuses={"cuMemGetInfo_v2": 999}))
    with pytest.raises(GpuUnavailable, match="cuMemGetInfo_v2"):
        Driver().card(0)
    assert driver.held == 0


def test_no_card_is_asked_for_where_none_is_used(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ctypes, "CDLL", None)
    assert find_cards([]) == ()


def test_the_pool_keeps_half_of_each_card(monkeypatch: pytest.MonkeyPatch):
    driver = install(monkeypatch, StandInDriver(cards=2))
    keep_freed_memory([0, 1])
    assert driver.thresholds == [12 * GIGABYTE, 12 * GIGABYTE]


@pytest.mark.parametrize("refused", ["cuInit", "cuDeviceGetDefaultMemPool", "cuMemPoolSetAttribute", "cuMemGetInfo_v2"])
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
