"""Our error rate is simpleder's where nobody speaks at once, by way of the rttm that the server writes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simpleder import DER

from benchmarks.der import error_rate
from speech_server.domain import SpeakerTurn
from speech_server.transcript.formats import rttm

Parts = st.lists(st.tuples(st.integers(0, 200), st.integers(10, 500), st.sampled_from("ABC")), min_size=1, max_size=12)


def turns(parts: list[tuple[int, int, str]]) -> list[SpeakerTurn]:
    """In hundredths of a second: pauses and lengths."""
    found, at = [], 0
    for pause, length, speaker in parts:
        found.append(SpeakerTurn((at + pause) / 100, (at + pause + length) / 100, speaker))
        at += pause + length
    return found


def read(text: str) -> list[tuple[str, float, float]]:
    lines = [line.split(" ") for line in text.splitlines()]
    return [(line[7], float(line[3]), float(line[3]) + float(line[4])) for line in lines]


@settings(max_examples=60, deadline=None)
@given(Parts, Parts)
def test_it_agrees_with_simpleder(truth: list[tuple[int, int, str]], found: list[tuple[int, int, str]]):
    said, heard = turns(truth), turns(found)
    theirs = DER(read(rttm(said, "talk")), read(rttm(heard, "talk")))
    assert error_rate(said, heard).whole == pytest.approx(theirs, abs=0.005)


def test_two_at_once_count_twice():
    both = [SpeakerTurn(0, 2, "A"), SpeakerTurn(1, 3, "B")]
    assert error_rate(both, both).whole == 0
    rate = error_rate(both, [SpeakerTurn(0, 3, "X")])
    assert (rate.missed, rate.false_alarm, rate.confused) == pytest.approx((0.25, 0, 0.25), abs=0.01)
