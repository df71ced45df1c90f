"""Words go to whoever speaks at their time; a change of speaker lies where a sentence ends."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from speech_server.domain import Segment, SpeakerTurn, Word
from speech_server.hearing.speakers.attribution import attributed


def said(text: str, start: float = 0.0, each: float = 0.5) -> Segment:
    """A word every half second."""
    words = [Word(start + each * at, start + each * (at + 1), f" {word}", 1.0) for at, word in enumerate(text.split())]
    return Segment(start, words[-1].end, "".join(word.word for word in words), (1, 2, 3), words=tuple(words))


def lines(segments: list[Segment]) -> list[tuple[str | None, str]]:
    return [(segment.speaker, segment.text.strip()) for segment in segments]


def test_a_segment_is_cut_where_another_goes_on():
    turns = [SpeakerTurn(0, 1.5, "A"), SpeakerTurn(1.5, 3, "B")]
    found = attributed([said("How are you? I am fine.")], turns)
    assert lines(found) == [("A", "How are you?"), ("B", "I am fine.")]
    assert [(segment.start, segment.end) for segment in found] == [(0, 1.5), (1.5, 3)]
    assert {word.speaker for word in found[1].words} == {"B"}
    assert [segment.tokens for segment in found] == [(1, 2, 3), ()]


def test_a_word_that_is_timed_badly_stays_in_its_sentence():
    late = [SpeakerTurn(0, 2.0, "A"), SpeakerTurn(2.0, 3, "B")]
    early = [SpeakerTurn(0, 1.0, "A"), SpeakerTurn(1.0, 3, "B")]
    for turns in (late, early):
        found = attributed([said("How are you? I am fine.")], turns)
        assert lines(found) == [("A", "How are you?"), ("B", "I am fine.")]


def test_a_change_far_from_any_sentence_s_end_stays():
    turns = [SpeakerTurn(0, 2.5, "A"), SpeakerTurn(2.5, 6, "B")]
    found = attributed([said("and then we went to the house of a friend")], turns)
    assert lines(found) == [("A", "and then we went to"), ("B", "the house of a friend")]


def test_words_in_a_pause_go_to_the_nearest_turn():
    turns = [SpeakerTurn(0, 1, "A"), SpeakerTurn(9, 10, "B")]
    assert lines(attributed([said("well", 2.0), said("so", 8.0)], turns)) == [("A", "well"), ("B", "so")]


def test_after_somebody_spoke_into_a_turn_it_goes_on():
    turns = [SpeakerTurn(0, 10, "A"), SpeakerTurn(2, 3, "B"), SpeakerTurn(12, 13, "C")]
    segments = [said("And so on.", 5.0), said("Hm.", 10.2), said("Well.", 11.5)]
    assert lines(attributed(segments, turns)) == [("A", "And so on."), ("A", "Hm."), ("C", "Well.")]


def test_of_two_who_speak_at_once_the_words_are_whose_turn_it_is():
    turns = [SpeakerTurn(0, 4, "A"), SpeakerTurn(1, 2, "B")]
    assert lines(attributed([said("One two three four five six.")], turns)) == [("A", "One two three four five six.")]


def test_without_words_a_segment_is_one_person_s():
    turns = [SpeakerTurn(0, 1, "A"), SpeakerTurn(1, 5, "B")]
    assert lines(attributed([Segment(0, 5, " Hello there.")], turns)) == [("B", "Hello there.")]


def test_where_nobody_was_heard_nobody_is_named():
    assert lines(attributed([said("Hm.")], [])) == [(None, "Hm.")]


@given(
    st.lists(st.sampled_from(["yes.", "no", "and", "so?"]), min_size=1, max_size=30),
    st.lists(st.tuples(st.floats(0.1, 4), st.sampled_from("ABC")), max_size=8),
)
def test_no_word_is_lost_or_moved(words: list[str], parts: list[tuple[float, str]]):
    turns, at = [], 0.0
    for length, speaker in parts:
        turns.append(SpeakerTurn(at, at + length, speaker))
        at += length
    segment = said(" ".join(words))
    found = attributed([segment], turns)
    assert "".join(part.text for part in found) == segment.text
    assert [word.word for part in found for word in part.words] == [word.word for word in segment.words]
    assert all(part.start <= part.end for part in found)
