"""Chunks cover all speech once, in order, at most 30 s each, and are cut where it is quiet."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speech_server.domain import FRAME, RATE, Samples, SpeechChunk, VadOptions
from speech_server.engines.silero.engine import Detector
from speech_server.hearing.chunks import LIMIT, Chunker
from tests.speech_server.conftest import Say

SENTENCE = "The meeting begins at nine, and the train leaves at ten past eleven."


def chunks_of(samples: Samples, block: int, detector: Detector | None = None) -> list[SpeechChunk]:
    chunker = Chunker(detector.stream() if detector else None, VadOptions() if detector else None)
    found: list[SpeechChunk] = []
    for first in range(0, len(samples), block):
        found += chunker.feed(samples[first : first + block])
    return found + list(chunker.finish())


def noise(seconds: Sequence[float]) -> Samples:
    """Noise of 1 s less or more loud, one piece for each number, each followed by a short quiet."""
    random = np.random.default_rng(1)
    parts = []
    for length in seconds:
        parts.append(random.uniform(-0.5, 0.5, round(length * RATE)))
        parts.append(random.uniform(-0.002, 0.002, RATE // 4))
    return np.concatenate(parts).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0.1, 40), min_size=1, max_size=8), st.integers(RATE // 2, 40 * RATE))
def test_without_a_detector_nothing_is_lost(lengths: list[float], block: int):
    samples = noise(lengths)
    chunks = chunks_of(samples, block)
    np.testing.assert_array_equal(np.concatenate([chunk.samples for chunk in chunks]), samples)
    assert max(len(chunk.samples) for chunk in chunks) <= LIMIT
    starts = np.cumsum([0] + [len(chunk.samples) for chunk in chunks[:-1]]) / RATE
    assert [chunk.offset for chunk in chunks] == pytest.approx(starts.tolist())


def test_a_long_recording_is_cut_where_it_is_quiet():
    samples = noise([7.0] * 20)
    quiet = {round(7.25 * number - 0.125, 3) for number in range(1, 21)}  # the middles of the quiet places
    for chunk in chunks_of(samples, 30 * RATE)[1:]:
        assert min(abs(chunk.offset - middle) for middle in quiet) < 0.2


def test_the_last_chunks_are_of_one_length():
    lengths = [len(chunk.samples) / RATE for chunk in chunks_of(noise([2.0] * 20), 30 * RATE)]
    assert len(lengths) == 2
    assert abs(lengths[0] - lengths[1]) < 5


def test_the_first_chunk_does_not_wait_for_the_end():
    chunker = Chunker(None, None)
    assert list(chunker.feed(noise([2.0] * 14))) == []
    (first,) = chunker.feed(noise([2.0] * 14))
    assert 5 < len(first.samples) / RATE <= 11, "and is short, so that its words come early"


@pytest.mark.parametrize(("seconds", "shares"), [(40, True), (20, False)])
def test_nor_does_the_first_chunk_of_a_short_recording_where_somebody_waits(seconds: int, shares: bool):
    chunker = Chunker(None, None, early=True)
    samples = noise([2.0] * round(seconds / 2.25))
    chunks = [*chunker.feed(samples), *chunker.finish()]
    np.testing.assert_array_equal(np.concatenate([chunk.samples for chunk in chunks]), samples)
    assert (5 < len(chunks[0].samples) / RATE <= 11) is shares, "a shorter one is done as soon"


def test_memory_does_not_grow_with_the_recording():
    chunker = Chunker(None, None)
    for _ in range(40):
        list(chunker.feed(noise([9.75])))
        assert len(chunker._samples) <= 2 * LIMIT + 10 * RATE


def test_digital_silence_gives_no_chunk():
    assert chunks_of(np.zeros(95 * RATE, np.float32), 30 * RATE) == []


def test_silence_gives_no_chunk_with_a_detector_and_keeps_no_memory(detector: Detector):
    chunker = Chunker(detector.stream(), VadOptions())
    hush = np.random.default_rng(2).normal(0, 1e-4, 30 * RATE).astype(np.float32)
    for _ in range(4):
        assert list(chunker.feed(hush)) == []
        assert len(chunker._samples) < 2 * RATE
    assert list(chunker.finish()) == []


def test_silence_between_sentences_is_cut_out_and_remembered(detector: Detector, say: Say):
    spoken = say(SENTENCE)
    gap = np.zeros(6 * RATE, np.float32)
    chunks = chunks_of(np.concatenate((gap, spoken, gap, spoken)), 5 * RATE, detector)
    assert len(chunks) == 1
    (_, first), (seam, second) = chunks[0].spans
    assert first == pytest.approx(6.0, abs=0.6)
    assert second - first == pytest.approx(6 + len(spoken) / RATE, abs=0.2)
    assert seam / RATE == pytest.approx(len(spoken) / RATE + 0.6, abs=0.6)
    assert len(chunks[0].samples) < 2 * len(spoken) + 2 * RATE


def test_speech_without_a_pause_is_cut_before_thirty_seconds(detector: Detector, say: Say):
    spoken = np.tile(say(SENTENCE), 30)
    chunks = chunks_of(spoken, 7 * FRAME * 100, detector)
    assert all(len(chunk.samples) <= LIMIT for chunk in chunks)
    assert sum(len(chunk.samples) for chunk in chunks) == pytest.approx(len(spoken), rel=0.02)
    offsets = [chunk.offset for chunk in chunks]
    assert offsets == sorted(offsets)
