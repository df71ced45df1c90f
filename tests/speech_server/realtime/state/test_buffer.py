from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from speech_server.realtime.state.buffer import AudioBuffer


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 60)), max_size=20), st.integers(0, 900), st.integers(0, 900)
)
def test_it_holds_what_was_appended_and_not_dropped(steps: list[tuple[int, int]], start: int, length: int):
    whole = np.arange(2000, dtype=np.float32)
    buffer, end, dropped = AudioBuffer(), 0, 0
    for size, back in steps:
        buffer.append(whole[end : end + size])
        end += size
        dropped = max(dropped, end - back)
        buffer.drop_before(dropped)
    assert buffer.end == end
    assert buffer.start <= max(dropped, 0)
    assert end - buffer.start <= 60 + 50, "dropped blocks are gone"
    cut = buffer.cut(start, start + length)
    assert cut.tolist() == whole[max(start, buffer.start) : min(start + length, end)].tolist()
