"""Spans found step by step are the spans faster_whisper finds in the whole recording."""

from __future__ import annotations

import faster_whisper.vad
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speech_server.domain import FRAME, SpeechSpan, VadOptions
from speech_server.hearing.spans import SpanFinder


def library_spans(probabilities: list[float], length: int, options: VadOptions) -> list[SpeechSpan]:
    """faster_whisper's own rules, on given probabilities instead of its network's."""
    theirs = faster_whisper.vad.VadOptions(
        threshold=options.threshold,
        neg_threshold=options.neg_threshold,
        min_speech_duration_ms=options.min_speech_duration_ms,
        max_speech_duration_s=options.max_speech_duration_s,
        min_silence_duration_ms=options.min_silence_duration_ms,
        speech_pad_ms=options.speech_pad_ms,
    )
    network = lambda audio: np.array(probabilities, np.float64)  # noqa: E731
    original, faster_whisper.vad.get_vad_model = faster_whisper.vad.get_vad_model, lambda: network
    try:
        spans = faster_whisper.vad.get_speech_timestamps(np.zeros(length, np.float32), theirs)
    finally:
        faster_whisper.vad.get_vad_model = original
    return [SpeechSpan(int(span["start"]), int(span["end"])) for span in spans]


probability = st.one_of(st.sampled_from([0.1, 0.45, 0.9]), st.floats(0, 1))
stretches = st.lists(st.tuples(probability, st.integers(1, 80)), min_size=1, max_size=25)
all_options = st.builds(
    VadOptions,
    threshold=st.sampled_from([0.2, 0.5, 0.75]),
    neg_threshold=st.sampled_from([None, 0.1, 0.5]),
    min_speech_duration_ms=st.sampled_from([0, 100, 250]),
    max_speech_duration_s=st.sampled_from([float("inf"), 1.0, 2.0, 3.0]),
    min_silence_duration_ms=st.sampled_from([0, 50, 100, 500, 2000]),
    speech_pad_ms=st.sampled_from([0, 30, 100, 400]),
)


@settings(max_examples=500, deadline=None)
@given(stretches, all_options, st.integers(0, FRAME - 1), st.integers(1, 100))
def test_spans_are_the_library_s(stretches: list[tuple[float, int]], options: VadOptions, missing: int, block: int):
    probabilities = [value for value, count in stretches for _ in range(count)]
    length = len(probabilities) * FRAME - missing
    finder = SpanFinder(options)
    found = []
    for first in range(0, len(probabilities), block):
        found += finder.feed(probabilities[first : first + block])
    found += finder.finish(length)
    assert found == library_spans(probabilities, length, options)


def test_a_span_comes_as_soon_as_the_silence_after_it_is_long_enough():
    finder = SpanFinder(VadOptions(min_silence_duration_ms=500, speech_pad_ms=100))
    assert list(finder.feed([0.0] * 10 + [0.9] * 20 + [0.0] * 15)) == []
    assert list(finder.feed([0.0] * 5)) == [SpeechSpan(10 * FRAME - 1600, 30 * FRAME + 1600)]


@pytest.mark.parametrize("frames", [0, 40, 400])
def test_nothing_to_come_starts_before_keep_from(frames: int):
    finder = SpanFinder(VadOptions(speech_pad_ms=100))
    list(finder.feed([0.0] * frames))
    kept = finder.keep_from
    assert kept >= frames * FRAME - 1600 - FRAME
    spans = [*finder.feed([0.9] * 10), *finder.finish((frames + 10) * FRAME)]
    assert spans[0].start >= kept
    assert spans[0].end == (frames + 10) * FRAME
