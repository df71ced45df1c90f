"""How many works a batch may have, by what each takes: as many as fit, at least one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from speech_server.engines.container_memory import container_memory, free_memory
from speech_server.engines.workspace import Need, Workspace

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
