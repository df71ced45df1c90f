"""Readings only English has: years in pairs, decades, telephone numbers, o'clock and oh."""

from __future__ import annotations

import re

from speech_server.text.numbers import NAMES

_PHONE = re.compile(r"(?<![\d-])(?:\+?\d{1,3}[-. ])?(?:\(\d{3}\)\s?|\d{3}[-.])?\d{3}[-.]\d{4}(?![\d-])")
_DECADE = re.compile(r"(?<![\w$€£.,])(1[1-9]|20)(\d)0(?:'s|’s|s)\b")
_YEAR = re.compile(r"(?<![\w$€£₹¥.,:/#+-])1([1-9])(\d\d)(?![\w:%/-]|[.,]\d|\s?[%°$€£])")
_TIME = re.compile(r"\b(1[0-2]|0?[1-9]):([0-5]\d)(?=\s?[ap]\.?m\b)", re.IGNORECASE)
_MINUTES_UNDER_TEN = re.compile(r"\b([01]?\d|2[0-3]):0([1-9])\b(?!:)")
_JOINED_HALF_DAY = re.compile(r"(?<=\d)(?=[ap]m\b)", re.IGNORECASE)
_FRACTION = re.compile(r"(?<![\w/.])(1/2|1/3|2/3|1/4|3/4)(?![\w/])")
_FRACTIONS = {"1/2": "one half", "1/3": "one third", "2/3": "two thirds", "1/4": "one quarter", "3/4": "three quarters"}
_TENS = ("hundreds", "tens", *(f"{name[:-1]}ies" for name in NAMES["en tens"]))
_SHARP, _PLUSES = re.compile(r"\b([A-G])#(?!\w)"), re.compile(r"(?<=\w)\+\+")


def read(text: str) -> str:
    text = _PHONE.sub(_read_phone, text)
    text = _DECADE.sub(lambda found: f"{found[1]} {_TENS[int(found[2])]}", text)
    text = _FRACTION.sub(lambda found: _FRACTIONS[found[1]], text)
    text = _TIME.sub(_read_time, text)
    text = _MINUTES_UNDER_TEN.sub(r"\1 oh \2", text)
    text = _JOINED_HALF_DAY.sub(" ", text)
    text = _YEAR.sub(_read_year, text)
    return _PLUSES.sub(" plus plus", _SHARP.sub(r"\1 sharp", text))


def _read_phone(found: re.Match[str]) -> str:
    """Digit by digit, a breath between the groups."""
    return ", ".join(" ".join(group) for group in re.findall(r"\d+", found[0]))


def _read_time(found: re.Match[str]) -> str:
    hours = str(int(found[1]))
    return hours if found[2] == "00" else _in_pairs(hours, found[2])


def _read_year(found: re.Match[str]) -> str:
    """1984 as 19 84; 1905 as 19 oh 5; 1900 as 19 hundred."""
    century = f"1{found[1]}"
    return f"{century} hundred" if found[2] == "00" else _in_pairs(century, found[2])


def _in_pairs(first: str, second: str) -> str:
    return f"{first} oh {second[1]}" if second[0] == "0" else f"{first} {second}"
