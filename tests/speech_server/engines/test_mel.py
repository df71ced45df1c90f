"""The spectrogram is that of the training: worked out here from its definition, band by band."""

from __future__ import annotations

import math

import numpy as np
import pytest
from faster_whisper.feature_extractor import FeatureExtractor
from hypothesis import given, settings
from hypothesis import strategies as st

from speech_server.domain import RATE
from speech_server.engines import mel
from speech_server.engines.mel import HOP, WINDOW, log_mel, mel_frames


def hz(value: float) -> float:
    """Slaney's scale."""
    return value * 200 / 3 if value < 15 else 1000 * 6.4 ** ((value - 15) / 27)


def band(power: np.ndarray, number: int, bands: int) -> float:
    """A triangle of area 1 over the spectrum."""
    top = 15 + 27 * math.log(8, 6.4)
    low, centre, high = (hz(top * (number + at) / (bands + 1)) for at in (0, 1, 2))
    total = 0.0
    for index, value in enumerate(power):
        at = index * RATE / WINDOW
        height = min((at - low) / (centre - low), (high - at) / (high - centre))
        total += max(height, 0.0) * 2 / (high - low) * float(value)
    return total


@pytest.mark.parametrize("bands", [40, 80])
def test_bands_are_triangles_of_equal_area_over_the_power(bands: int):
    samples = np.random.default_rng(1).normal(0, 0.1, RATE // 2).astype(np.float32)
    window = np.array([0.5 - 0.5 * math.cos(2 * math.pi * at / WINDOW) for at in range(WINDOW)])
    cut = samples[10 * HOP - WINDOW // 2 : 10 * HOP + WINDOW // 2]
    power = np.abs(np.fft.rfft(cut * window)) ** 2
    expected = [band(power, number, bands) for number in range(bands)]
    np.testing.assert_allclose(mel_frames(samples, bands)[10], expected, rtol=1e-4, atol=1e-9)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 3 * RATE))
def test_there_is_a_frame_for_each_hop(length: int):
    assert mel_frames(np.ones(length, np.float32), 40).shape == (1 + length // HOP, 40)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch):
    samples = np.random.default_rng(2).normal(0, 0.1, RATE).astype(np.float32)
    whole = mel_frames(samples, 40)
    monkeypatch.setattr(mel, "_BLOCK", 7)
    np.testing.assert_allclose(mel_frames(samples, 40), whole, rtol=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.integers(WINDOW, 3 * RATE), st.sampled_from([80, 128]))
def test_whisper_s_features_are_the_library_s_of_the_samples_and_silence(length: int, bands: int):
    samples = np.random.default_rng(length).normal(0, 0.1, length).astype(np.float32)
    expected = FeatureExtractor(feature_size=bands)(np.pad(samples, (0, 3 * RATE - length)), padding=0)
    np.testing.assert_allclose(log_mel(samples, bands, 3 * RATE), expected, atol=1e-5)
