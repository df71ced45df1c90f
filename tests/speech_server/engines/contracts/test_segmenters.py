"""What every segmenter keeps to: a tiny pyannote, the example engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from speech_server.domain import RATE, Activity, Samples
from speech_server.engines.pyannote import engine as pyannote
from tests.speech_server.engines.contracts.subjects import Make, Subject, all_of, given
from tests.speech_server.engines.examples import segmenter as example
from tests.speech_server.networks import LOW, pyannote_folder, silence, tone

pytestmark = pytest.mark.anyio


@dataclass
class SegmenterSubject(Subject):
    def ask(self, engine: Any) -> AsyncGenerator[Activity, None]:
        return engine.segment(given(np.zeros(engine.window, np.float32) for _ in range(40)))

    def window(self, start: float, end: float) -> Samples:
        """Somebody speaks from second to second."""
        sound = silence(self.engine.window / RATE)
        sound[round(start * RATE) : round(end * RATE)] = tone(LOW, end - start)
        return sound


def _pyannote(folder: Path) -> Subject:
    return SegmenterSubject("pyannote", pyannote.load, pyannote_folder(folder), (pyannote.FILE,))


def _example(folder: Path) -> Subject:
    return SegmenterSubject("example", example.load, folder)


CASES: dict[str, Make] = {"pyannote": _pyannote, "example": _example}


async def segmented(subject: SegmenterSubject, *windows: Samples) -> list[Activity]:
    return await all_of(subject.engine.segment(given(windows)))


def spoken(subject: SegmenterSubject, activity: Activity) -> tuple[float, float]:
    """From when to when anybody speaks."""
    frames = np.flatnonzero(activity.any(axis=1))
    first, last = (frames[[0, -1]] * subject.engine.step + subject.engine.middle) / RATE
    return float(first), float(last)


async def test_each_frame_of_a_window_says_who_speaks(subject: SegmenterSubject):
    (activity,) = await segmented(subject, subject.window(1, 3))
    engine = subject.engine
    assert (activity.dtype, activity.ndim) == (np.bool_, 2)
    assert activity.shape[1] >= 2
    assert 0 < engine.middle < engine.window
    last = (len(activity) - 1) * engine.step + engine.middle
    assert engine.window - 2 * engine.step - engine.middle <= last < engine.window
    assert spoken(subject, activity) == pytest.approx((1, 3), abs=0.15)
    assert activity.sum(axis=1).max() == 1


async def test_windows_come_back_in_their_order(subject: SegmenterSubject):
    starts = [0.5, 3, 1, 2.5, 0.2, 3.5, 2, 1.5]
    heard = await segmented(subject, *(subject.window(start, start + 1) for start in starts))
    assert [spoken(subject, activity)[0] for activity in heard] == pytest.approx(starts, abs=0.1)
    assert await segmented(subject) == []


async def test_nobody_speaks_in_silence(subject: SegmenterSubject):
    (activity,) = await segmented(subject, silence(subject.engine.window / RATE))
    assert not activity.any()


@pytest.mark.parametrize("scale", [1e-6, 1.0, 10.0])
async def test_no_sound_is_an_error(subject: SegmenterSubject, scale: float):
    noise = np.random.default_rng(0).uniform(-1, 1, subject.engine.window).astype(np.float32)
    (activity,) = await segmented(subject, np.clip(noise * np.float32(scale), -1, 1))
    (silent,) = await segmented(subject, np.zeros_like(noise))
    assert activity.shape == silent.shape


async def test_company_changes_no_frame(subject: SegmenterSubject):
    windows = [subject.window(start, start + 1.5) for start in (0, 0.5, 1, 2, 3)]
    alone = [(await segmented(subject, window))[0] for window in windows]
    together = await asyncio.gather(*(segmented(subject, window, windows[0]) for window in windows * 3))
    for number, (own, first) in enumerate(together):
        np.testing.assert_array_equal(own, alone[number % len(windows)])
        np.testing.assert_array_equal(first, alone[0])
    assert (subject.engine.batcher.lanes, subject.engine.batcher.waiting) == (0, 0)
