from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech_server.audio.joins import trim, with_pause

RATE = 24_000


def tone(seconds: float, level: float = 0.3) -> np.ndarray:
    return (level * np.sin(2 * np.pi * 200 * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * RATE), np.float32)


@pytest.mark.parametrize(("before", "after"), [(0.0, 0.0), (0.3, 0.0), (0.0, 0.5), (0.4, 0.2)])
def test_silence_at_the_ends_goes_and_the_sound_stays(before: float, after: float):
    kept = trim(np.concatenate([silence(before), tone(1.0), silence(after)]), RATE)
    assert 1.0 <= len(kept) / RATE + 0.001 <= 1.08
    assert abs(kept[0]) < 1e-6
    assert abs(kept[-1]) < 1e-6


def test_a_soft_ending_is_kept():
    spoken = np.concatenate([tone(0.5), tone(0.2, 0.003), silence(0.4)])
    assert len(trim(spoken, RATE)) / RATE == pytest.approx(0.74, abs=0.03)


def test_silence_inside_stays():
    spoken = np.concatenate([tone(0.2), silence(0.5), tone(0.2)])
    assert len(trim(spoken, RATE)) == len(spoken)


@pytest.mark.parametrize("samples", [silence(0), silence(0.5), np.full(10, 1e-7, np.float32)])
def test_all_silence_is_empty(samples: np.ndarray):
    assert len(trim(samples, RATE)) == 0


@given(st.lists(st.floats(-1, 1, width=32), max_size=600), st.sampled_from([8_000, 22_050, 24_000]))
def test_trimming_never_adds_and_never_fails(values: list[float], rate: int):
    samples = np.array(values, np.float32)
    kept = trim(samples, rate)
    assert len(kept) <= len(samples)
    assert np.abs(kept).max(initial=0) <= np.abs(samples).max(initial=0)


def test_a_pause_is_silence_of_its_length():
    assert np.array_equal(with_pause(tone(0.1), 0.25, RATE), np.concatenate([tone(0.1), silence(0.25)]))
