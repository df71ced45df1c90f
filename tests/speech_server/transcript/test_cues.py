"""Subtitles stay inside their limits, whatever was said."""

from __future__ import annotations

import re
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from speech_server.domain import Segment, Word
from speech_server.transcript.cues import LINE, LONGEST, LONGEST_MS, Cue, split

LETTERS = st.text(st.sampled_from("abcdé.,?!-'"), min_size=1, max_size=60)
TEXTS = st.one_of(
    st.lists(LETTERS, max_size=60).map(" ".join),
    st.text(st.sampled_from("今日はとても良い天気ですね。、"), max_size=300),
    st.text(max_size=200),
)
TIMES = st.floats(0, 1e5, allow_nan=False)


@st.composite
def segments(draw: st.DrawFn, *, with_words: bool) -> list[Segment]:
    found, at = [], draw(st.floats(0, 1000))
    for text in draw(st.lists(TEXTS, max_size=6)):
        start = at
        words = []
        for token in re.findall(r"\s*\S+", " " + text) if with_words else []:
            length = draw(st.floats(0, 9))
            words.append(Word(at, at + length, token, 1.0))
            at += length + draw(st.sampled_from([0.0, 0.1, 2.0]))
        end = max(at, start + draw(st.floats(0, 30)))
        found.append(Segment(start, end, " " + text, words=tuple(words)))
        at = end + draw(st.sampled_from([0.0, -0.5, 1.0]))
        at = max(at, 0)
    return found


def check(cues: list[Cue]) -> None:
    for cue in cues:
        assert 1 <= len(cue.lines) <= 2
        assert all(len(line) <= LINE for line in cue.lines)
        assert len(" ".join(cue.lines)) <= LONGEST + 1
        assert sum(map(len, cue.lines)) <= LONGEST
        assert all(line == line.strip() and line for line in cue.lines)
        assert 0 < cue.end_ms - cue.start_ms <= LONGEST_MS
    for before, after in pairwise(cues):
        assert before.end_ms <= after.start_ms


@given(segments(with_words=True))
def test_cues_of_timed_words_stay_inside_the_limits_and_never_overlap(passages: list[Segment]):
    check(list(split(passages)))


@given(segments(with_words=False))
def test_cues_of_untimed_text_stay_inside_the_limits_and_never_overlap(passages: list[Segment]):
    check(list(split(passages)))


@given(segments(with_words=True))
def test_every_character_is_shown_once_and_in_order(passages: list[Segment]):
    shown = "".join(line for cue in split(passages) for line in cue.lines)
    said = "".join(word.word for passage in passages for word in passage.words or ())
    untimed = "".join(passage.text for passage in passages if not passage.words)
    assert sorted(re.sub(r"\s", "", shown)) == sorted(re.sub(r"\s", "", said + untimed))
    if not untimed:
        assert re.sub(r"\s", "", shown) == re.sub(r"\s", "", said)


def speech(text: str, *, start: float = 0.0, each: float = 0.3) -> Segment:
    words = []
    at = start
    for token in re.findall(r"\s*\S+", text):
        words.append(Word(at, at + each, token, 1.0))
        at += each
    return Segment(start, at, text, words=tuple(words))


def test_a_short_sentence_is_one_line():
    assert list(split([Segment(0.0, 2.0, " Hello there.")])) == [Cue(0, 2000, ("Hello there.",))]


def test_the_first_cue_starts_where_its_first_word_does():
    passage = Segment(0.0, 3.0, " Hello.", words=(Word(1.2345, 2.0, " Hello.", 0.9),))
    assert list(split([passage])) == [Cue(1234, 2000, ("Hello.",))]


def test_a_cue_ends_at_a_sentence_rather_than_in_the_next_one():
    cues = list(
        split([speech(" This is the first sentence that is said. And the second one has many more words in it.")])
    )
    assert " ".join(cues[0].lines) == "This is the first sentence that is said."


def test_no_word_is_left_alone_at_the_end_of_a_sentence():
    text = " A small red bird had always wanted to visit the lighthouse at the end of the pier, and so did I."
    assert min(len(" ".join(cue.lines)) for cue in split([speech(text, each=0.21)])) > 20


def test_an_hour_of_chinese_takes_no_time_worth_speaking_of():
    """The search is linear in the text: a hundred times the text takes far less than ten thousand times the steps."""
    sentence = Segment(0.0, 30.0, "今日はとても良い天気ですね、散歩に行きましょうか。" * 8)
    assert len(list(split([sentence] * 120))) > 240


def test_a_pause_ends_a_cue():
    first, second = speech(" one two three four five six seven eight"), speech(" nine ten eleven twelve", start=6.0)
    joined = Segment(0.0, 8.0, first.text + second.text, words=first.words + second.words)
    assert [cue.lines for cue in split([joined])] == [
        ("one two three four five six seven eight",),
        ("nine ten eleven twelve",),
    ]


def test_two_lines_are_about_equally_long():
    (cue,) = split([Segment(0.0, 5.0, " The quick brown fox jumps over the lazy dog near the river")])
    assert cue.lines == ("The quick brown fox jumps over", "the lazy dog near the river")


def test_a_long_segment_without_words_is_shared_out_by_length():
    text = " " + "word " * 60
    cues = list(split([Segment(0.0, 60.0, text)]))
    assert len(cues) >= 9
    assert cues[0].start_ms == 0
    assert cues[-1].end_ms > 50_000


def test_a_word_longer_than_a_line_is_cut():
    cues = list(split([Segment(0.0, 5.0, "a" * 100)]))
    assert "".join(line for cue in cues for line in cue.lines) == "a" * 100


def test_nothing_said_is_no_cue():
    assert list(split([])) == []
    assert list(split([Segment(0.0, 1.0, "  ")])) == []
