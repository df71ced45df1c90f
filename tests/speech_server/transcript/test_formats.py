"""A transcript in each of OpenAI's formats."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech_server.domain import Segment, TokenLogprob, Word
from speech_server.transcript import formats

HELLO = Segment(
    0.5, 1.75, " Hello.", tokens=(50364, 2425), avg_logprob=-0.25, words=(Word(0.5, 1.75, " Hello.", 0.99),)
)
BYE = Segment(3600.0, 3602.0016, " Good bye.")


def test_srt_has_numbers_commas_and_blank_lines():
    assert formats.srt([HELLO, BYE]) == (
        "1\n00:00:00,500 --> 00:00:01,750\nHello.\n\n2\n01:00:00,000 --> 01:00:02,002\nGood bye.\n\n"
    )


def test_vtt_has_a_header_and_points():
    assert formats.vtt([HELLO]) == "WEBVTT\n\n00:00:00.500 --> 00:00:01.750\nHello.\n\n"


def test_silence_is_a_valid_empty_subtitle_file():
    assert formats.vtt([]) == "WEBVTT\n\n"
    assert formats.srt([]) == ""
    assert formats.plain_text([]) == ""


def test_what_is_said_cannot_break_a_subtitle_file():
    said = [Segment(0.0, 1.0, " a --> b <c> & d")]
    assert formats.srt(said).count("-->") == 1
    assert formats.vtt(said).splitlines()[3] == "a --&gt; b &lt;c&gt; &amp; d"


@given(st.text(max_size=100))
def test_a_subtitle_file_has_one_arrow_per_cue(text: str):
    said = [Segment(0.0, 1.0, text)]
    for body in (formats.srt(said), formats.vtt(said)):
        times = [line for line in body.splitlines() if "-->" in line]
        assert all(line[:2].isdigit() for line in times)


def test_plain_text_joins_segments_as_they_are_spaced():
    assert formats.plain_text([HELLO, BYE]) == "Hello. Good bye."


def test_verbose_json_has_speaches_fields():
    body = formats.verbose([HELLO], task="transcribe", language="en", duration=2.0004, words=True)
    assert body == {
        "task": "transcribe",
        "language": "en",
        "duration": 2.0,
        "text": "Hello.",
        "segments": [
            {
                "id": 0,
                "seek": 50,
                "start": 0.5,
                "end": 1.75,
                "text": " Hello.",
                "tokens": [50364, 2425],
                "temperature": 0.0,
                "avg_logprob": -0.25,
                "compression_ratio": 0.0,
                "no_speech_prob": 0.0,
            }
        ],
        "words": [{"word": "Hello.", "start": 0.5, "end": 1.75}],
        "usage": {"type": "duration", "seconds": 2},
    }


def test_words_are_null_unless_asked_for():
    assert formats.verbose([HELLO], task="transcribe", language="en", duration=2.0, words=False)["words"] is None


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_numbers_json_cannot_say_become_numbers_it_can(value: float):
    entry = formats.logprob_entries([TokenLogprob("a", value)])
    json.dumps(entry, allow_nan=False)


@pytest.mark.parametrize(("seconds", "billed"), [(0.0, 0), (0.2, 1), (5.0, 5), (5.0001, 5), (5.01, 6)])
def test_usage_counts_seconds_begun(seconds: float, billed: int):
    assert formats.usage(seconds) == {"type": "duration", "seconds": billed}


@pytest.mark.parametrize(
    ("ms", "clock"), [(0, "00:00:00.000"), (59_999, "00:00:59.999"), (360_000_000, "100:00:00.000")]
)
def test_the_clock_counts_hours(ms: int, clock: str):
    assert formats.clock(ms, ".") == clock
