"""Readings only English has: years in pairs, decades, telephone numbers, o'clock and oh."""

from __future__ import annotations

import re

_PHONE = re.compile(r"(?<![\d-])(?:\+?\d{1,3}[-. ])?(?:\(\d{3}\)\s?|\d{3}[-.])?\d{3}[-.]\d{4}(?![\d-])")
_DECADE = re.compile(r"(?<![\w$€£.,])(1[1-9]|20)(\d)0(?:'s|’s|s)\b")
_YEAR = re.compile(r"(?<![\w$€£₹¥.,:/#+-])1([1-9])(\d\d)(?![\w:%/-]|[.,]\d|\s?[%°$€£])")
_TIME = re.compile(r"\b(1[0-2]|0?[1-9]):([0-5]\d)(?=\s?[ap]\.?m\b)", re.IGNORECASE)
_MINUTES_UNDER_TEN = re.compile(r"\b([01]?\d|2[0-3]):0([1-9])\b(?!:)")
_JOINED_HALF_DAY = re.compile(r"(?<=\d)(?=[ap]m\b)", re.IGNORECASE)
_FRACTION = re.compile(r"(?<![\w/.])(1/2|1/3|2/3|1/4|3/4)(?![\w/])")
_FRACTIONS = {"1/2": "one half", "1/3": "one third", "2/3": "two thirds", "1/4": "one quarter", "3/4": "three quarters"}
_TENS = (
    "hundreds",
    "tens",
    "twenties",
    "thirties",
    "forties",
    "fifties",
    "sixties",
    "seventies",
    "eighties",
    "nineties",
)
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
    hours, minutes = int(found[1]), found[2]
    if minutes == "00":
        return str(hours)
    return f"{hours} oh {minutes[1]}" if minutes[0] == "0" else f"{hours} {minutes}"


def _read_year(found: re.Match[str]) -> str:
    """1984 as 19 84; 1905 as 19 oh 5; 1900 as 19 hundred."""
    century, rest = f"1{found[1]}", found[2]
    if rest == "00":
        return f"{century} hundred"
    return f"{century} oh {rest[1]}" if rest[0] == "0" else f"{century} {rest}"
