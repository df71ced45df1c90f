from __future__ import annotations

import io
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech_server.audio.adts import constant_size, fill, with_header
from tests.speech_server.audio.test_encode import speech_like


@pytest.fixture(scope="module")
def frames() -> list[bytes]:
    """Raw AAC frames of one second."""
    context = av.CodecContext.create("aac", "w")
    context.sample_rate, context.layout, context.format = 24_000, "mono", "fltp"
    context.time_base = Fraction(1, 24_000)
    frame = av.AudioFrame.from_ndarray(speech_like(1.0, 24_000)[np.newaxis], "fltp", "mono")
    frame.sample_rate = 24_000
    return [bytes(packet) for packet in [*context.encode(frame), *context.encode(None)]]


def decoded(frames: list[bytes]) -> np.ndarray:
    data = b"".join(with_header(frame, 24_000) for frame in frames)
    with av.open(io.BytesIO(data), format="aac") as container:
        assert container.streams.audio[0].rate == 24_000
        return np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])


@pytest.mark.parametrize("more", [0, 1, 2, 3, 13, 14, 15, 16, 17, 18, 268, 269, 270, 271, 272, 286, 600, 2_000])
def test_a_filled_frame_has_the_size_asked_for_and_decodes_to_the_same(frames: list[bytes], more: int):
    filled = [fill(frame, len(frame) + more) for frame in frames]
    assert [len(frame) for frame in filled] == [len(frame) + more for frame in frames]
    assert np.array_equal(decoded(filled), decoded(frames))


def test_a_frame_that_is_larger_already_stays(frames: list[bytes]):
    assert fill(frames[5], 3) == frames[5]


def test_the_header_tells_rate_and_length(frames: list[bytes]):
    data = with_header(frames[0], 48_000)
    assert data[:2] == b"\xff\xf1"
    assert data[2] >> 2 & 0xF == 3  # the third index is 48 kHz
    assert (data[3] & 3) << 11 | data[4] << 3 | data[5] >> 5 == len(data)


@given(st.lists(st.integers(1, 800), min_size=1, max_size=60), st.integers(1, 400))
def test_at_the_constant_size_all_frames_together_cost_what_they_should(sizes: list[int], least: int):
    size = constant_size(sizes, least)
    assert size >= least
    sent = 0
    for number, frame in enumerate(sizes, 1):
        sent += max(frame, number * size - sent)
    assert sent == size * len(sizes)
