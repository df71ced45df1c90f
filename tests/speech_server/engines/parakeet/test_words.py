"""Tokens become words and sentences: spaces, marks, times and pauses. Pure."""

from __future__ import annotations

import numpy as np
import pytest

from speech_server.domain import RATE, SpeechChunk
from speech_server.engines.interfaces import TranscribeOptions
from speech_server.engines.parakeet.words import HeardToken, to_segments

OPTIONS = TranscribeOptions(word_timestamps=True, logprobs=True)
FRAME = 0.08  # seconds


def tokens(*said: tuple[str, int]) -> list[HeardToken]:
    """Texts, and the frame each begins in."""
    return [HeardToken(number, text, frame * FRAME, -0.5) for number, (text, frame) in enumerate(said)]


def chunk(seconds: float = 30.0, offset: float = 0.0, spans: tuple[tuple[int, float], ...] = ()) -> SpeechChunk:
    return SpeechChunk(np.zeros(round(seconds * RATE), np.float32), offset, spans)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ([" Hel", "lo", ",", " you", "."], [" Hello,", " you."]),
        (["Hel", "lo"], [" Hello"]),
        ([" ", "Ça", " va", " ", "?"], [" Ça", " va?"]),
        ([" Hola", " ", "¿", "qué"], [" Hola", " ¿qué"]),
        ([" Yes", " ."], [" Yes."]),
        ([" It", "'", "s", " 3", ".", "5"], [" It's", " 3.5"]),
        ([" one", " "], [" one"]),
        ([" one", " ", " two"], [" one", " two"]),
        ([".", " one"], [" .", " one"]),
        ([" "], []),
        ([], []),
    ],
)
def test_tokens_make_words_with_their_marks(said: list[str], words: list[str]):
    segments = to_segments(chunk(), tokens(*((text, 4 * place) for place, text in enumerate(said))), OPTIONS)
    assert [word.word for segment in segments for word in segment.words] == words
    assert "".join(segment.text for segment in segments) == "".join(words)
    assert "".join(entry.token for segment in segments for entry in segment.logprobs).rstrip() == "".join(words)


def test_a_word_ends_where_the_next_begins_or_after_the_longest_token():
    (segment,) = to_segments(chunk(), tokens((" one", 0), (" two", 2), (" three", 10)), OPTIONS)
    assert [(word.start, word.end) for word in segment.words] == [(0, 0.16), (0.16, 0.48), (0.8, 1.12)]


def test_a_mark_that_comes_late_does_not_make_its_word_longer():
    (segment,) = to_segments(chunk(), tokens((" end", 0), (".", 11)), OPTIONS)
    assert segment.words[0].end == 0.32


def test_no_time_is_beyond_the_chunk():
    (segment,) = to_segments(chunk(0.3), tokens((" a", 0), (" b", 3), (" c", 9)), OPTIONS)
    assert max(word.end for word in segment.words) == 0.3
    assert all(word.start <= word.end for word in segment.words)


def test_a_segment_is_a_sentence_and_a_title_is_none():
    said = tokens((" We", 0), (" met", 2), (" Mr", 4), (".", 5), (" Fox", 6), (".", 9), (" He", 12), (" ran", 14))
    segments = to_segments(chunk(), said, OPTIONS)
    assert [segment.text for segment in segments] == [" We met Mr. Fox.", " He ran"]
    assert [segment.tokens for segment in segments] == [(0, 1, 2, 3, 4, 5), (6, 7)]


def test_a_long_pause_ends_a_segment():
    segments = to_segments(chunk(), tokens((" one", 0), (" two", 10), (" three", 40)), OPTIONS)
    assert [segment.text for segment in segments] == [" one two", " three"]


def test_silence_that_was_cut_out_is_in_the_times():
    cut = chunk(4, 10.0, ((0, 10.0), (2 * RATE, 70.0)))
    segments = to_segments(cut, tokens((" one", 0), (" two", 22), (" three", 27)), OPTIONS)
    assert [(segment.text, segment.start, segment.end) for segment in segments] == [
        (" one", 10.0, 10.32),
        (" two", 11.76, 12.08),  # most of it is before the seam
        (" three", 70.16, 70.48),
    ]


def test_words_and_logprobs_are_left_out_unless_they_are_wanted():
    (segment,) = to_segments(chunk(), tokens((" a", 0), ("b", 1)), TranscribeOptions())
    assert (segment.words, segment.logprobs) == ((), ())
    assert segment.avg_logprob == -0.5
    assert segment.compression_ratio > 0
