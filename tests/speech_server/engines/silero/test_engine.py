"""The voice detector gives the library's probabilities, whatever the blocks it is fed in."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from faster_whisper.vad import get_vad_model
from hypothesis import given, settings
from hypothesis import strategies as st

from speech_server.audio import decode
from speech_server.domain import FRAME
from speech_server.engines.interfaces import EngineArgs
from speech_server.engines.silero import engine as silero
from speech_server.engines.silero.engine import Detector
from speech_server.errors import ModelBroken
from tests.speech_server.conftest import ENGLISH

CLIP = np.concatenate(list(decode.stream(ENGLISH, decode.Limits(60))))
CLIP = CLIP[: len(CLIP) // FRAME * FRAME]


def test_probabilities_are_the_library_s(detector: Detector):
    ended = np.concatenate((CLIP, np.zeros(FRAME, np.float32)))  # the library damages its input's last samples
    np.testing.assert_allclose(detector.stream().feed(ended), get_vad_model()(ended).reshape(-1), atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(0, len(CLIP)), max_size=12))
def test_blocks_of_any_size_give_the_same(detector: Detector, cuts: list[int]):
    stream = detector.stream()
    edges = [0, *sorted(cuts), len(CLIP)]
    parts = [stream.feed(CLIP[first:last]) for first, last in pairwise(edges)]
    np.testing.assert_allclose(np.concatenate(parts), detector.stream().feed(CLIP), atol=1e-4)


def test_speech_is_told_from_silence(detector: Detector):
    assert detector.stream().feed(CLIP).max() > 0.9
    assert detector.stream().feed(np.zeros(FRAME * 100, np.float32)).max() < 0.3


def test_streams_do_not_share_state(detector: Detector):
    one, other = detector.stream(), detector.stream()
    expected = detector.stream().feed(CLIP)
    mixed = []
    for first in range(0, len(CLIP), FRAME):
        mixed.append(one.feed(CLIP[first : first + FRAME]))
        other.feed(CLIP[::-1][first : first + FRAME])
    np.testing.assert_allclose(np.concatenate(mixed), expected, atol=1e-4)


def test_a_folder_without_a_network_is_a_broken_model(tmp_path: Path):
    with pytest.raises(ModelBroken, match=r"no \*\.onnx"):
        silero.load(tmp_path, EngineArgs())


def test_a_damaged_network_is_a_broken_model(tmp_path: Path):
    (tmp_path / "silero_vad_v6.onnx").write_bytes(b"not a network")
    with pytest.raises(ModelBroken):
        silero.load(tmp_path, EngineArgs())
