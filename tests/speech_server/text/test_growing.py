from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from speech_server.text.growing import LONGEST_WAIT, GrowingText


def test_a_sentence_is_handed_over_when_the_next_one_begins():
    text = GrowingText()
    assert [text.add(token) for token in ("It", " is", " Paris", ".")] == ["", "", "", ""]
    assert text.add(" You").strip() == "It is Paris."
    assert text.finish().strip() == "You"


def test_a_number_is_not_the_end_of_a_sentence():
    text = GrowingText()
    assert "".join(text.add(token) for token in ("It costs 3", ".", "14", " euros")) == ""


def test_whoever_never_ends_a_sentence_is_heard_all_the_same():
    text = GrowingText()
    handed = "".join(text.add(" word") for _ in range(LONGEST_WAIT))
    assert len(handed) > LONGEST_WAIT


@given(st.lists(st.text("ab .!?\n,1", max_size=8)))
def test_no_letter_is_lost_or_doubled(deltas: list[str]):
    text = GrowingText()
    handed = "".join([*(text.add(delta) for delta in deltas), text.finish()])
    assert handed.split() == "".join(deltas).split()
