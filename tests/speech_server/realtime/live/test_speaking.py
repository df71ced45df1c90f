from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from speech_server.realtime.live.speaking import Pace


@given(st.lists(st.tuples(st.floats(0.01, 2), st.floats(0, 3)), max_size=30), st.floats(0, 3))
def test_the_client_never_holds_more_than_the_lead_and_never_waits_for_what_is_there(
    pieces: list[tuple[float, float]], lead: float
):
    pace, now, played_until = Pace(lead), 100.0, 0.0
    for seconds, gap in pieces:
        now += gap
        wait = pace.wait(seconds, now)
        now += wait
        ahead = max(0.0, played_until - now)
        assert ahead <= lead + 1e-6, "what is under way when the next piece is sent"
        assert wait == 0 or ahead >= lead - 1e-6, "it waits no longer than it must"
        played_until = max(played_until, now) + seconds
