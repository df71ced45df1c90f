from __future__ import annotations

import numpy as np
import pytest

from speech_server.audio.stretch import Samples, stretch

RATE = 24_000


def tone(seconds: float, pitch: float = 220.0) -> Samples:
    return np.sin(2 * np.pi * pitch * np.arange(round(seconds * RATE)) / RATE).astype(np.float32) * np.float32(0.5)


def pitch_of(samples: Samples) -> float:
    strength = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(strength)) * RATE / len(samples)


@pytest.mark.parametrize("tempo", [0.25, 0.3, 0.49, 2.01, 2.5, 3.0, 4.0])
@pytest.mark.parametrize("seconds", [0.3, 1.0, 10.0])
def test_the_length_changes_and_the_pitch_stays(tempo: float, seconds: float):
    made = stretch(tone(seconds), RATE, tempo)
    assert made.dtype == np.float32
    assert len(made) == round(seconds * RATE / tempo)
    assert pitch_of(made) == pytest.approx(220, abs=0.5 + 2 * RATE / len(made))
    assert np.abs(made).max() == pytest.approx(0.5, rel=0.1)


@pytest.mark.parametrize("tempo", [0.25, 4.0])
def test_the_last_sound_is_there_and_where_it_belongs(tempo: float):
    made = stretch(np.concatenate([tone(1.0), np.zeros(RATE, np.float32), tone(1.0)]), RATE, tempo)
    loud = np.abs(made) > 0.2
    second = round(RATE / tempo)
    assert loud[-second:].mean() > 0.5
    assert loud[second + second // 8 : 2 * second - second // 8].mean() < 0.01


def test_without_a_change_the_samples_are_as_they_were():
    samples = tone(0.1)
    assert stretch(samples, RATE, 1.0) is samples
    assert len(stretch(samples[:0], RATE, 2.5)) == 0
