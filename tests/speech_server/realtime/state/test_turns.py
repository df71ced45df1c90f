from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from speech_server.domain import FRAME, RATE
from speech_server.realtime.protocol.config import ServerVad
from speech_server.realtime.state.turns import Change, Kind, TurnDetector


def changes(probabilities: list[float], **options: object) -> list[tuple[int, Change]]:
    """(frames heard, change) for each change."""
    detector = TurnDetector(ServerVad.model_validate(options))
    found = [(count, detector.feed(p)) for count, p in enumerate(probabilities, 1)]
    return [(count, change) for count, change in found if change]


def test_speech_starts_where_its_first_loud_frame_starts():
    assert changes([0.1] * 5 + [0.9] * 3) == [(7, Change(Kind.STARTED, 5 * FRAME))]


def test_one_loud_frame_is_a_click_and_no_speech():
    assert changes([0.1, 0.9] * 20) == []


def test_a_turn_ends_where_speech_fell_silent_once_the_silence_has_lasted():
    found = changes([0.9] * 10 + [0.1] * 30, silence_duration_ms=550)
    assert [change for _, change in found[1:]] == [Change(Kind.PAUSED, 10 * FRAME), Change(Kind.ENDED, 10 * FRAME)]
    heard = (found[-1][0] - 10) * FRAME / RATE
    assert abs(heard - 0.55) <= FRAME / 2 / RATE + 1e-9


def test_a_pause_shorter_than_the_silence_does_not_end_the_turn():
    found = changes([0.9] * 10 + [0.1] * 10 + [0.9] * 5, silence_duration_ms=550)
    assert [change.kind for _, change in found] == [Kind.STARTED, Kind.PAUSED, Kind.RESUMED]


def test_speech_that_fades_stays_speech_until_well_under_the_threshold():
    assert [c.kind for _, c in changes([0.9] * 5 + [0.4] * 100, threshold=0.5)] == [Kind.STARTED]


def test_a_dip_between_the_thresholds_does_not_restart_the_closing_silence():
    found = changes([0.9] * 5 + [0.1] * 9 + [0.4] + [0.1] * 9, silence_duration_ms=550)
    assert found[-1][1] == Change(Kind.ENDED, 5 * FRAME)


def test_no_silence_asked_for_ends_the_turn_with_the_first_silent_frame():
    assert changes([0.9] * 5 + [0.1], silence_duration_ms=0)[-1] == (6, Change(Kind.ENDED, 5 * FRAME))


def test_a_higher_threshold_needs_clearer_speech():
    assert changes([0.7] * 50, threshold=0.8) == []


@given(st.lists(st.floats(0, 1), max_size=200), st.integers(0, 2000), st.floats(0.01, 0.99))
def test_turns_start_and_end_in_order_and_never_overlap(probabilities: list[float], silence: int, threshold: float):
    allowed = {
        None: {Kind.STARTED},
        Kind.STARTED: {Kind.PAUSED, Kind.ENDED},
        Kind.PAUSED: {Kind.RESUMED, Kind.ENDED},
        Kind.RESUMED: {Kind.PAUSED, Kind.ENDED},
        Kind.ENDED: {Kind.STARTED},
    }
    last: Kind | None = None
    at = 0
    for count, change in changes(probabilities, silence_duration_ms=silence, threshold=threshold):
        assert change.kind in allowed[last]
        assert 0 <= change.at < count * FRAME
        if change.kind is not Kind.ENDED:
            assert change.at >= at
        last, at = change.kind, change.at
