from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech_server.text.sentences import (
    CLAUSE_PAUSE,
    LONGEST,
    PARAGRAPH_PAUSE,
    SENTENCE_PAUSE,
    complete_sentences,
    cut,
    speakable,
)
from speech_server.text.signs import signs_of

ORWELL = (
    "It was a bright cold day in April, and the clocks were striking thirteen. Winston Smith slipped quickly through "
    "the glass doors of Victory Mansions. Outside, even through the shut window-pane, the world looked cold."
)


def texts(text: str, language: str = "en-us", *, early: bool = False) -> list[str]:
    return [piece.text for piece in cut(text, language, early=early)]


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("en-us", "Dr. Smith came at 5 p.m. He was late.", ["Doctor Smith came at 5 p m.", "He was late."]),
        ("es", "¿Cómo estás? Madrid es la capital.", ["¿Cómo estás? Madrid es la capital."]),
        ("ja", "今日はいい天気ですね。散歩に行きましょう！", ["今日はいい天気ですね。", "散歩に行きましょう！"]),
        ("zh", "你好吗？我很好。今天天气不错！", ["你好吗？ 我很好。", "今天天气不错！"]),
        ("hi", "भारत की राजधानी नई दिल्ली है। आप कैसे हैं?", ["भारत की राजधानी नई दिल्ली है।", "आप कैसे हैं?"]),
    ],
)
def test_sentences_of_every_script(language: str, text: str, expected: list[str]):
    assert texts(text, language) == expected


def test_very_short_sentences_join_the_next():
    assert texts("Yes. No. That is all there is.") == ["Yes. No. That is all there is."]
    assert texts("Stop!") == ["Stop!"]


def test_pauses_follow_what_a_piece_ends_with():
    pieces = list(cut(f"First sentence here.\n\nSecond sentence here. {'word, ' * 60}end.", "en", early=False))
    assert [piece.pause for piece in pieces] == [PARAGRAPH_PAUSE, SENTENCE_PAUSE, CLAUSE_PAUSE, SENTENCE_PAUSE]


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en-us", ORWELL),
        ("es", "El coronel Aureliano Buendía había de recordar aquella tarde remota en que su padre lo llevó."),
        ("fr-fr", "La petite ville de Verrières peut passer pour une des plus jolies de la Franche-Comté."),
        ("de", "Jemand musste Josef verleumdet haben, denn ohne dass er etwas Böses getan hätte, wurde er verhaftet."),
    ],
)
def test_the_first_piece_is_a_few_words_and_ends_on_a_content_word(language: str, text: str):
    first, *rest = texts(text, language, early=True)
    words, signs = first.split(), signs_of(language)
    assert 3 <= len(words) <= 6
    assert signs
    assert words[-1].strip(",").lower() not in signs.function_words
    assert " ".join([first, *rest]).split() == text.split()


@pytest.mark.parametrize(
    "text",
    [
        "Hello there, my friend.",
        "The U.S. Army base.",
        # Cut before "were", Whisper hears "we're on the table"; before "from", "a cold wind blue".
        "Bread, butter and a little cheese were on the table.",
        "A cold wind blew from the north all day.",
    ],
)
def test_a_short_first_sentence_stays_whole(text: str):
    assert len(texts(text, early=True)) == 1


def test_without_early_the_first_sentence_stays_whole():
    assert texts(ORWELL)[0] == "It was a bright cold day in April, and the clocks were striking thirteen."


@given(st.lists(st.sampled_from(["word", "and", "comma,", "stop.", "colon:", "x" * 80]), max_size=400), st.booleans())
def test_pieces_have_no_more_than_a_model_can_take_and_lose_no_word(words: list[str], early: bool):
    pieces = texts(" ".join(words), early=early)
    assert all(0 < len(piece) <= LONGEST for piece in pieces)
    assert " ".join(pieces).split() == words


@given(st.text(), st.sampled_from(["en-us", "es", "fr-fr", "de", "it", "pt-br", "hi", "ja", "zh", "sv"]), st.booleans())
def test_any_text_gives_speakable_pieces(text: str, language: str, early: bool):
    for piece in cut(text, language, early=early):
        assert speakable(piece.text)
        assert piece.pause >= 0


def test_a_long_run_of_chinese_is_cut_by_what_it_takes_to_say():
    sentence = "这是一个很长的句子，" * 30 + "完。"
    pieces = texts(sentence, "zh")
    assert "".join(pieces).replace(" ", "") == sentence
    assert all(len(piece) <= LONGEST // 3 for piece in pieces)
    assert all(piece.endswith(("，", "。")) for piece in pieces)


def test_a_book_is_read_as_it_is_spoken():
    """Only what is about to be said has been taken from the text."""
    book = "A paragraph of some length stands here.\n\n" * 200_000
    assert len(list(itertools.islice(cut(book, "en"), 10))) == 10


@pytest.mark.parametrize("text", ["", " \n ", "...", "?!", "😀👍", "***", "---\n***", "<br/>"])
def test_what_cannot_be_said_gives_no_piece(text: str):
    assert texts(text, early=True) == []


def test_growing_text_is_whole_up_to_its_last_sentence():
    assert complete_sentences("Hello there. How are", "en") == ("Hello there. ", "How are")
    assert complete_sentences("It is 3.", "en") == ("", "It is 3.")
    assert complete_sentences("Title\n\n", "en") == ("Title\n\n", "")


@given(st.text(), st.sampled_from(["en", "ja", "hi"]))
def test_growing_text_loses_nothing(text: str, language: str):
    assert "".join(complete_sentences(text, language)) == text
