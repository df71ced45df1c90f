"""What every voice detector keeps to: real Silero, the example engine."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speech_server.audio import decode
from speech_server.domain import FRAME, RATE, Samples
from speech_server.engines.silero import engine as silero
from speech_server.models.library.catalog import SILERO
from tests.speech_server.conftest import ENGLISH, model_folder
from tests.speech_server.engines.contracts.subjects import Make, Subject
from tests.speech_server.engines.examples import voice_detector as example

CLIP = np.concatenate(list(decode.stream(ENGLISH, decode.Limits(60))))
CLIP = CLIP[: len(CLIP) // FRAME * FRAME]


@dataclass
class DetectorSubject(Subject):
    pass


def _silero(folder: Path) -> Subject:
    folder = model_folder(SILERO)
    (file,) = [path.name for path in folder.glob("*.onnx")]
    return DetectorSubject("silero", silero.load, folder, (file,))


def _example(folder: Path) -> Subject:
    return DetectorSubject("example", example.load, folder)


CASES: dict[str, Make] = {"silero": _silero, "example": _example}


def test_there_is_a_probability_for_each_frame(subject: Subject):
    heard = subject.engine.stream().feed(CLIP)
    assert (heard.dtype, heard.shape) == (np.float32, (len(CLIP) // FRAME,))
    assert 0 <= heard.min() <= heard.max() <= 1


def test_speech_is_told_from_silence(subject: Subject):
    assert subject.engine.stream().feed(CLIP).max() > 0.9
    assert subject.engine.stream().feed(np.zeros(FRAME * 100, np.float32)).max() < 0.3


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(0, len(CLIP)), max_size=12))
def test_blocks_of_any_size_give_the_same(subject: Subject, cuts: list[int]):
    stream = subject.engine.stream()
    edges = [0, *sorted(cuts), len(CLIP)]
    parts = [stream.feed(CLIP[first:last]) for first, last in pairwise(edges)]
    np.testing.assert_allclose(np.concatenate(parts), subject.engine.stream().feed(CLIP), atol=1e-4)


@pytest.mark.parametrize(
    "sound",
    [np.zeros(0, np.float32), np.ones(1, np.float32), np.sign(CLIP), np.ones(RATE, np.float32)],
    ids=["nothing", "one sample", "clipped", "constant"],
)
def test_no_sound_is_an_error(subject: Subject, sound: Samples):
    heard = subject.engine.stream().feed(sound)
    assert heard.shape == (len(sound) // FRAME,)
    assert np.isfinite(heard).all()


def test_streams_share_nothing_on_whatever_threads_they_are(subject: Subject):
    expected = [subject.engine.stream().feed(sound) for sound in (CLIP, CLIP[::-1])]

    def listen(number: int) -> Samples:
        stream, sound = subject.engine.stream(), (CLIP, CLIP[::-1])[number % 2]
        return np.concatenate([stream.feed(sound[first : first + FRAME]) for first in range(0, len(sound), FRAME)])

    with ThreadPoolExecutor(4) as threads:
        for number, heard in enumerate(threads.map(listen, range(8))):
            np.testing.assert_allclose(heard, expected[number % 2], atol=1e-4)
