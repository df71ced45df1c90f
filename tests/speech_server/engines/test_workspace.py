"""How many works a batch may have, by what each takes: as many as fit, at least one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from speech_server.engines.container_memory import container_memory, free_memory
from speech_server.engines.workspace import Need, Workspace
from tests.speech_server.stand_in_driver import GB, LOST, StandInDriver

MB = 1_000_000
BYTES = st.integers(1, 10**9)


@given(st.builds(Need, BYTES, BYTES), st.integers(0, 10**11), st.integers(1, 16), st.integers(1, 64))
def test_a_batch_is_the_largest_that_fits_in_all_workers(need: Need, room: int, workers: int, most: int):
    batch = need.batch(room, workers, most)
    assert 1 <= batch <= most
    assert batch == 1 or need.of(workers, batch) <= room
    assert batch == most or need.of(workers, batch + 1) > room


def test_on_a_cpu_the_room_is_the_container_s():
    assert 0 < free_memory() < container_memory()
    small, large = (Workspace(Need(1000, size), [], 2, most=8) for size in (1000, container_memory()))
    assert (small.batch, large.batch) == (8, 1)
    small.close()
    large.close()


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
