"""Numbers in words, as a careful reader says them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech_server.text.numbers import spell_numbers

ENGLISH = {
    "0 1 13 20 21 99": "zero one thirteen twenty twenty-one ninety-nine",
    "100, 101 and 999.": "one hundred, one hundred one and nine hundred ninety-nine.",
    "1,000 or 1000000": "one thousand or one million",
    "1,234,567": "one million two hundred thirty-four thousand five hundred sixty-seven",
    "3.14 or 0.05": "three point one four or zero point zero five",
    "5.": "five.",
    "the 1st, 2nd, 3rd, 12th, 20th and 21st": "the first, second, third, twelfth, twentieth and twenty-first",
    "the 1,000th": "the one thousandth",
    "19 84": "nineteen eighty-four",
    "007": "zero zero seven",
    "1234567890123": "one two three four five six seven eight nine zero one two three",
    "5G, H2O, 3D": "five G, H two O, three D",
    "1,2,3": "one,two,three",
}
SPANISH = {
    "0 1 15 16 21 22 29": "cero uno quince dieciséis veintiuno veintidós veintinueve",
    "30 31 99": "treinta treinta y uno noventa y nueve",
    "100 101 500 999": "cien ciento uno quinientos novecientos noventa y nueve",
    "1000 1001 2000": "mil mil uno dos mil",
    "21.000 y 31.000": "veintiún mil y treinta y un mil",
    "1.000.000 y 2.500.000": "un millón y dos millones quinientos mil",
    "3,14": "tres coma uno cuatro",
    "a las 8": "a las ocho",
}


@pytest.mark.parametrize(("text", "spoken"), ENGLISH.items())
def test_english(text: str, spoken: str):
    assert spell_numbers(text, "en") == spoken


@pytest.mark.parametrize(("text", "spoken"), SPANISH.items())
def test_spanish(text: str, spoken: str):
    assert spell_numbers(text, "es") == spoken


def test_a_language_without_words_for_them_keeps_its_digits():
    assert spell_numbers("30 Tage", "de") == "30 Tage"


@given(st.integers(0, 10**12 - 1), st.sampled_from(["en", "es"]))
def test_every_number_has_words_of_its_own(number: int, language: str):
    spoken = spell_numbers(str(number), language)
    assert not any(character.isdigit() for character in spoken)
    assert spoken != spell_numbers(str(number + 1), language)


@given(st.text(), st.sampled_from(["en", "es"]))
def test_no_text_is_too_strange(text: str, language: str):
    assert not any(character in "0123456789" for character in spell_numbers(text, language))
