"""A verbose_json is read back: the same cues as from the segments it was made of."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from endpoint.bulk.segments import segments_of
from speech_server.domain import Segment, Word
from speech_server.transcript import formats

WORDS = st.text(st.sampled_from("aé世,.!?1-><&"), min_size=1, max_size=9)


@st.composite
def transcripts(draw: st.DrawFn) -> list[Segment]:
    found, at = [], 0.0
    for texts in draw(st.lists(st.lists(WORDS, min_size=1, max_size=20), max_size=6)):
        words = []
        for text in texts:
            start = round(at + draw(st.integers(0, 900)) / 1000, 3)
            at = round(start + draw(st.integers(0, 900)) / 1000, 3)
            space = draw(st.sampled_from((" ", " ", "")))
            words.append(Word(start, at, space + text, 0.5, draw(st.sampled_from(("A", "B")))))
        text = "".join(word.word for word in words)
        found.append(Segment(words[0].start, words[-1].end, text, words=tuple(words), speaker=words[0].speaker))
    return found


def body_of(segments: list[Segment], *, words: bool = True) -> dict[str, object]:
    body = formats.verbose(segments, task="transcribe", language="en", duration=9.0, words=words)
    return json.loads(json.dumps(body))  # type: ignore[no-any-return]


@given(transcripts())
def test_subtitles_are_those_of_the_server(segments: list[Segment]):
    again = list(segments_of(body_of(segments)))
    assert [(s.text, s.speaker, [w.word for w in s.words]) for s in again] == [
        (s.text, s.speaker, [w.word for w in s.words]) for s in segments
    ]
    for write in (formats.srt, formats.vtt, formats.dialogue):
        assert write(again) == write(segments)


@given(transcripts())
def test_without_words_they_are_timed_by_their_segments(segments: list[Segment]):
    again = list(segments_of(body_of(segments, words=False)))
    assert [(s.start, s.end, s.text, s.words) for s in again] == [(s.start, s.end, s.text, ()) for s in segments]


def test_words_that_are_not_the_text_cost_one_segment_its_times_and_no_other():
    entries = [
        {"start": 0.0, "end": 1.0, "text": " 20 people"},
        {"start": 1.0, "end": 2.0, "text": " said so"},
    ]
    words = [
        {"word": word, "start": at, "end": at + 0.5}
        for word, at in (("twenty", 0.0), ("people", 0.5), ("said", 1.0), ("so", 1.5))
    ]
    first, second = segments_of({"segments": entries, "words": words})
    assert first.words == ()
    assert [word.word for word in second.words] == [" said", " so"]


def test_what_is_none_is_said():
    with pytest.raises((KeyError, TypeError)):
        list(segments_of({"segments": [{"text": "x"}], "words": None}))
