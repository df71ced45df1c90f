"""How much of a GPU's memory is free, asked of its driver; and what follows for batches and for the memory budget."""

from __future__ import annotations

import pytest

from speech_server.engines import gpu
from speech_server.engines.faults import explain
from speech_server.engines.workspace import Need, Workspace
from speech_server.errors import DeviceFailed, OutOfMemory
from tests.speech_server.engines.stand_in_driver import GB, LOST, StandInDriver

MB = 1_000_000


def test_free_memory_is_the_driver_s_and_what_a_pool_keeps_for_the_next(card: StandInDriver):
    assert gpu.memory_of([0]) == (20 * GB, 24 * GB)
    card.reserved, card.used = 5 * GB, 2 * GB
    assert gpu.memory_of([0]) == (23 * GB, 24 * GB)
    card.pools = False
    assert gpu.memory_of([0]) == (20 * GB, 24 * GB)


def test_the_context_that_all_share_is_held_once_and_left_as_it_was(card: StandInDriver):
    for _ in range(3):
        gpu.memory_of([0])
    assert (card.retained, card.current) == ([0], [])


def test_a_machine_without_a_gpu_has_none_to_ask():
    if gpu.find_driver() is not None:
        pytest.skip("there is one")
    assert gpu.memory_of([0]) is None
    assert not gpu.is_lost()
    with pytest.raises(OSError, match="too old"):
        gpu.Driver(object())


def test_a_driver_without_gpus_is_none(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gpu.ctypes, "CDLL", lambda name: StandInDriver(gpus=0))
    gpu.find_driver.cache_clear()
    assert gpu.find_driver() is None
    gpu.find_driver.cache_clear()


def test_a_lost_gpu_answers_with_its_error_for_ever(card: StandInDriver):
    assert gpu.memory_of([0])
    assert not gpu.is_lost()
    card.error = LOST
    assert gpu.is_lost()
    assert gpu.memory_of([0]) is None
    assert card.current == []


def test_no_memory_on_a_lost_gpu_is_a_lost_gpu(card: StandInDriver):
    """ONNX Runtime's arena says the same of both."""
    gpu.memory_of([0])
    error = RuntimeError("Failed to allocate memory for requested buffer of size 1000")
    assert isinstance(explain(error), OutOfMemory)
    card.error = LOST
    assert isinstance(explain(error), DeviceFailed)


def test_batches_are_what_the_free_memory_holds(card: StandInDriver):
    need = Need(worker=200 * MB, work=600 * MB)
    first = Workspace(need, [0], workers=2, most=32)
    assert first.batch == 11  # (0.75 x 20 - 3 x 0.2 - 0.6) / (2 x 0.6) = 11.5
    assert first.bytes == need.of(2, 11) <= 15 * GB
    first.close()


def test_two_engines_do_not_count_on_the_same_memory(card: StandInDriver):
    need = Need(worker=200 * MB, work=600 * MB)
    first = Workspace(need, [0], workers=2, most=32)
    second = Workspace(need, [0], workers=2, most=32)
    assert first.bytes + second.bytes <= 20 * GB
    assert second.batch < first.batch
    first.close()
    third = Workspace(need, [0], workers=2, most=32)
    assert third.batch > second.batch
    second.close()
    third.close()
    again = Workspace(need, [0], workers=2, most=32)
    assert again.batch == first.batch
    again.close()


def test_a_number_given_is_the_number(card: StandInDriver):
    workspace = Workspace(Need(1, 10 * GB), [0], workers=2, most=32, given=24)
    assert workspace.batch == 24
    workspace.close()


def test_a_driver_that_does_not_tell_leaves_the_largest_batch(card: StandInDriver):
    card.error = LOST
    workspace = Workspace(Need(1, 10 * GB), [0], workers=2, most=32)
    assert workspace.batch == 32
    workspace.close()
