from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from speech_server.text.reading import read_signs
from speech_server.text.signs import signs_of

ENGLISH = {
    # money
    "It costs $5.50, or €20.": "It costs 5 dollars and 50 cents, or 20 euros.",
    "$1 or $1.01 or $1.00": "1 dollar or 1 dollar and 1 cent or 1 dollar",
    "US$3.5 billion and £1,000": "3.5 billion dollars and 1,000 pounds",
    "I paid 5$.": "I paid 5 dollars.",
    # units
    "5km at 60 km/h": "5 kilometers at 60 kilometers per hour",
    "1 kg, 3.5kg": "1 kilogram, 3.5 kilograms",
    "0V and 1 V": "0 volts and 1 volt",
    "50% of 20°C": "50 percent of 20 degrees Celsius",
    "5G and 3D": "5G and 3D",
    # times, dates, years
    "10:30 am, 10:05, 9:00pm": "10 30 am, 10 oh 5, 9 pm",
    "at 14:00": "at 14 o'clock",
    "on 2026-11-20": "on November 20, 2026",
    "in 1984, 1905 and 1900": "in 19 84, 19 oh 5 and 19 hundred",
    "the 1990s": "the 19 nineties",
    "1,984 people": "1,984 people",
    # ranges, telephone numbers
    "10-20 people": "10 to 20 people",
    "pages 12–15": "pages 12 to 15",
    "a 3-2 win": "a 3 2 win",
    "call 555-1234": "call 5 5 5, 1 2 3 4",
    "(212) 555-1234": "2 1 2, 5 5 5, 1 2 3 4",
    "it is -5 outside": "it is minus 5 outside",
    # addresses
    "see https://www.example.com/a-b?x=1#y.": "see example dot com slash a dash b.",
    "mail j.doe@example.org": "mail j dot doe at example dot org",
    "open handler.py now": "open handler dot py now",
    # abbreviations
    "Mr. Smith vs. Dr. Who": "Mister Smith versus Doctor Who",
    "fruit, e.g. pears, etc.": "fruit, for example pears, et cetera.",
    "No. 5": "Number 5",
    "No.": "No.",
    "the U.S. Army": "the U S Army",
    "from the U.S.A.": "from the U S A.",
    "J. R. R. Tolkien": "J R R Tolkien",
    # symbols
    "R&D, 2+2=4, 5 * 3": "R and D, 2 plus 2 equals 4, 5 times 3",
    "C++ and C#": "C plus plus and C sharp",
    "a < b, ~5": "a less than b, about 5",
    "#1 #fun": "number 1 fun",
    "snake_case © 2": "snake case 2",
    "a → b": "a, b",
    "wait... what?": "wait... what?",
}
OTHERS = {
    ("es", "Cuesta 5,50 € a las 10:30."): "Cuesta 5 euros con 50 céntimos a las 10 y 30.",
    ("es", "El Sr. García, 20 %, 25°C"): "El señor García, 20 por ciento, 25 grados Celsius",
    ("es", "$3 millones"): "3 millones de dólares",
    ("fr-fr", "M. Dupont paie 5,50 € à 14h30."): "monsieur Dupont paie 5 euros 50 à 14 heures 30.",
    ("de", "Dr. Müller zahlt 3,20 € um 10:30 Uhr"): "Doktor Müller zahlt 3 Euro 20 um 10 Uhr 30",
    ("it", "Costa 1,20 € e 3 kg"): "Costa 1 euro e 20 centesimi e 3 chilogrammi",
    ("pt-br", "R$ 5,50 a 10 km/h"): "5 reais e 50 centavos a 10 quilômetros por hora",
    ("hi", "₹500 और 20%"): "500 रुपये और 20 प्रतिशत",
    ("zh", "价格 50%。"): "价格 50%。",
    ("sv", "5 kr & 3"): "5 kr & 3",
}


@pytest.mark.parametrize("written", ENGLISH)
def test_english_signs_become_words(written: str):
    assert read_signs(written, "en-us") == ENGLISH[written]


@pytest.mark.parametrize(("language", "written"), OTHERS)
def test_other_languages_have_words_of_their_own_or_keep_the_signs(language: str, written: str):
    assert read_signs(written, language) == OTHERS[language, written]


@given(
    st.text(st.characters(categories=["Lu", "Ll", "Zs"])), st.sampled_from(["en", "es", "fr", "de", "it", "pt", "ja"])
)
def test_plain_words_stay_as_they_are(text: str, language: str):
    words = " ".join(text.split())
    assert read_signs(words, language) == words


@given(
    st.one_of(st.text(), st.text("0123456789 ,+*$€%°²VWkKmgMGBsxURHzoinbft'")),
    st.sampled_from(["en", "es", "fr", "de", "it", "pt", "hi", "zh"]),
)
@example("0V", "en")
@example("5 x 3", "en")
@example("US$5", "en")
@example("R$5", "pt")
def test_no_letter_or_digit_is_lost_but_abbreviations_and_addresses(text: str, language: str):
    written = "".join(sign for sign in text if sign not in ".:/@?#-h")
    spoken = read_signs(" ".join(written.split()), language)
    lost = {sign for sign in written if sign.isalpha()} - set(spoken)
    assert lost <= letters_read_out(spoken, language)


def letters_read_out(spoken: str, language: str) -> set[str]:
    """Of the signs whose names are heard: the V of "0V" is not lost where "volts" is."""
    signs = signs_of(language)
    if signs is None:
        return set()
    names = {**signs.units, **signs.money, "US$": signs.money["$"], "x": (signs.symbols["×"],)}
    return {letter for sign, heard in names.items() if any(name in spoken for name in heard) for letter in sign}
