from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from speech_server.realtime.state.deltas import Deltas, words


def test_a_word_is_sent_once_two_guesses_agree_on_it():
    deltas = Deltas()
    assert deltas.guess("The quick") == ""
    assert deltas.guess("The quick brown fog") == "The quick"
    assert deltas.guess("The quick brown fox jumps") == " brown"
    assert deltas.guess("The quick brown fox jumps over") == " fox jumps"
    assert deltas.finish("The quick brown fox jumps over.") == " over."


def test_case_and_punctuation_are_no_disagreement():
    deltas = Deltas()
    deltas.guess("well, I think")
    assert deltas.guess("Well I think so") == "Well I think"


def test_what_was_sent_is_never_sent_again_when_the_final_text_corrects_it():
    deltas = Deltas()
    deltas.guess("I scream every day")
    assert deltas.guess("I scream every day in") == "I scream every day"
    assert deltas.finish("Icecream every day in summer.") == " in summer."


def test_scripts_without_spaces_are_sent_by_the_character():
    deltas = Deltas()
    deltas.guess("東京は日")
    assert deltas.guess("東京は日本の") == "東京は日"
    assert deltas.finish("東京は日本の首都です。") == "本の首都です。"


@given(st.text())
def test_words_lose_nothing_but_space_at_the_end(text: str):
    assert "".join(words(text)) == text.rstrip() or not text.strip()


@given(st.lists(st.sampled_from(["a", "b", "c", "d."]), max_size=12), st.lists(st.integers(0, 12), max_size=6))
def test_growing_guesses_add_up_to_exactly_the_text(spoken: list[str], lengths: list[int]):
    text = " ".join(spoken)
    deltas = Deltas()
    sent = [deltas.guess(" ".join(spoken[:length])) for length in sorted(lengths)]
    assert "".join([*sent, deltas.finish(text)]) == text


@given(st.lists(st.text("ab ", max_size=20), max_size=6), st.text("ab ", max_size=20))
def test_whatever_is_guessed_the_deltas_hold_no_more_words_than_were_guessed_or_said(guesses: list[str], final: str):
    deltas = Deltas()
    sent = words("".join([deltas.guess(guess) for guess in guesses] + [deltas.finish(final)]))
    assert len(sent) <= len(words(final)) + max((len(words(guess)) for guess in guesses), default=0)
