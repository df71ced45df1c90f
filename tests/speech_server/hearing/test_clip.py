"""Parts of a recording fit together, whoever hears which, in blocks of whatever size."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speech_server.domain import FRAME, RATE, Clip, Samples
from speech_server.hearing import clip as clips
from speech_server.hearing.clip import Clipper, Cut, clipped, quietest

NOISE = np.random.default_rng(1).uniform(-0.5, 0.5, 60 * RATE).astype(np.float32)


@pytest.fixture(autouse=True)
def short_sections(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(clips, "SECTION", 10.0)
    monkeypatch.setattr(clips, "REACH", 2.0)


def heard(recording: Samples, clip: Clip, block: int = RATE) -> tuple[Samples, list[int]]:
    """The clip's samples, and where its sections begin. It is given what it needs of the recording, in blocks."""
    first = round(clip.needed_from * RATE)
    clipper = Clipper(clip, first)
    parts = list(clipped((recording[at : at + block] for at in range(first, len(recording), block)), clipper))
    samples = [part for part in parts if not isinstance(part, Cut)]
    assert clipper.length == sum(map(len, samples))
    return np.concatenate([*samples, np.empty(0, np.float32)]), [p.position for p in parts if isinstance(p, Cut)]


def with_pauses(pauses: Sequence[tuple[float, float]], seconds: float) -> Samples:
    """Noise of so many seconds, silent from each (second, length)."""
    samples = NOISE[: round(seconds * RATE)].copy()
    for at, length in pauses:
        samples[round(at * RATE) : round((at + length) * RATE)] *= 1e-3
    return samples


blocks = st.integers(1_000, 40 * RATE)
pauses = st.lists(st.tuples(st.floats(0, 55), st.floats(0.05, 3)), max_size=12)


@settings(max_examples=60, deadline=None)
@given(pauses, st.floats(1, 55), st.lists(st.integers(1, 27), max_size=4, unique=True), st.lists(blocks, min_size=5))
def test_neighbours_leave_nothing_out_and_hear_nothing_twice(
    pauses: list[tuple[float, float]], seconds: float, borders: list[int], blocks: list[int]
):
    recording = with_pauses(pauses, seconds)
    ends = [0.0, *(2.0 * border for border in sorted(borders)), None]
    parts = []
    for start, end, block in zip(ends, ends[1:], blocks, strict=False):
        assert start is not None
        parts.append(heard(recording, Clip(start, end, 0.9), block)[0])
    np.testing.assert_array_equal(np.concatenate(parts), recording)


@settings(max_examples=30, deadline=None)
@given(pauses, st.floats(1, 55), blocks)
def test_a_recording_and_its_parts_have_the_same_sections(
    pauses: list[tuple[float, float]], seconds: float, block: int
):
    recording = with_pauses(pauses, seconds)
    samples, cuts = heard(recording, Clip(), block)
    np.testing.assert_array_equal(samples, recording)
    borders = [0.0, 10.0, 20.0, 30.0, 40.0, 50.0, None]
    parts = [heard(recording, Clip(start or 0.0, end, 2.0)) for start, end in pairwise(borders)]
    assert [cut for _, found in parts for cut in found] == cuts


def test_a_cut_is_in_the_middle_of_the_longest_pause():
    recording = with_pauses([(8.5, 0.3), (9.4, 1.0), (11.0, 0.5)], 30)
    _, cuts = heard(recording, Clip())
    assert cuts == [0, pytest.approx(9.9 * RATE, abs=FRAME), pytest.approx(20 * RATE, abs=2 * RATE)]


def test_without_a_pause_it_is_where_it_is_quietest():
    samples = NOISE[: 4 * RATE].copy()
    samples[RATE : RATE + RATE // 3] *= 0.3
    assert quietest(samples) == pytest.approx(RATE * 7 / 6, abs=2 * FRAME)
    assert quietest(np.zeros(4 * RATE, np.float32)) == 2 * RATE
    assert quietest(NOISE[:5]) == 2


def test_without_a_zone_ends_are_taken_at_their_word():
    samples, cuts = heard(NOISE, Clip(1.5, 7.25))
    np.testing.assert_array_equal(samples, NOISE[round(1.5 * RATE) : round(7.25 * RATE)])
    assert cuts == [round(1.5 * RATE)]


def test_what_lies_beyond_the_recording_is_empty():
    samples, _ = heard(NOISE[: 5 * RATE], Clip(30.0, 40.0, 2.0))
    assert len(samples) == 0


def test_a_recording_that_ends_within_reach_of_a_cut_is_not_cut_there():
    recording = with_pauses([(9.0, 0.4)], 11)
    first, cuts = heard(recording, Clip(0.0, 10.0, 2.0))
    np.testing.assert_array_equal(first, recording)
    assert cuts == [0]
    assert len(heard(recording, Clip(10.0, 20.0, 2.0))[0]) == 0


def test_a_file_that_is_a_part_begins_where_it_says():
    recording = with_pauses([(9.4, 1.0), (19.4, 1.0)], 30)
    _, cuts = heard(recording, Clip())
    begin, end = cuts[1] / RATE, cuts[2] / RATE
    samples, found = heard(recording, Clip(begin, end, offset=begin))
    np.testing.assert_array_equal(samples, recording[cuts[1] : cuts[2]])
    assert found == cuts[1:2]


def test_nothing_is_read_after_the_end():
    read = []

    def recording():
        for second in range(60):
            read.append(second)
            yield NOISE[second * RATE : (second + 1) * RATE]

    list(clipped(recording(), Clipper(Clip(0.0, 5.0, 1.0))))
    assert read[-1] == 5
