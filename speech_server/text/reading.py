"""Writes signs out as words: money, units, times, dates, addresses, abbreviations, symbols."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

from speech_server.text import english
from speech_server.text.signs import Signs, signs_of

_NUMBER = r"\d+(?:[.,]\d{3})*(?:[.,]\d+)?"
_EMAIL = re.compile(r"\b[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,5}\b")
_URL = re.compile(r"\b(?:https?://|www\.)[^\s<>\"'()\[\]{}]{3,2000}", re.IGNORECASE)
_DOTTED_NAME = re.compile(r"(?<![\w.])[A-Za-z][\w-]{1,63}(?:\.[a-z][\w-]{1,20}){1,5}(?:/[\w./-]{1,200})?(?![\w])")
_ISO_DATE = re.compile(r"\b(\d{4})-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])\b")
_TIME = re.compile(r"\b([01]?\d|2[0-4])[:h]([0-5]\d)(?::([0-5]\d))?\b(?:\s(?:Uhr|heures|horas)\b)?")
_RANGE = re.compile(r"(?<![\d.,-])(\d{1,4}(?:[.,]\d+)?)\s?([-–])\s?(\d{1,4}(?:[.,]\d+)?)(?![\d-]|[.,]\d)")
_INITIALS = re.compile(r"(?<![\w.])(?:[^\W\d_]\.\s?){2,}")
_BETWEEN_NUMBERS = re.compile(r"(?<=\d)\s?[*x]\s?(?=\d)")
_NEGATIVE = re.compile(r"(?<![\w.,)])[-−](?=\d)")
_NUMBER_SIGN = re.compile(r"#(?=\d)")
_DROPPED = re.compile(r"[©®™#*_|\\^`~<>{}\[\]•‣◦↑↓]+")
_ARROW = re.compile(r"\s*[→⇒←]\s*")


def read_signs(text: str, language: str) -> str:
    """One sentence, its signs written out, its spaces single. Digits stay: every engine's own reader knows numbers.

    Languages without a table, Japanese and Mandarin among them, keep what their reader can handle.
    """
    text = " ".join(text.split())  # first: patterns that begin with spaces start over at each of a run of them
    known = _patterns(language)
    if known is None:
        return _tidy(text)
    signs, patterns = known
    text = _EMAIL.sub(lambda found: _spell_address(found[0], signs), text)
    text = _URL.sub(lambda found: _read_url(found[0], signs), text)
    text = _DOTTED_NAME.sub(lambda found: _spell_address(found[0], signs), text)
    text = _ISO_DATE.sub(lambda found: _read_date(found, signs), text)
    if language.startswith("en"):
        text = english.read(text)
    text = _TIME.sub(lambda found: _read_time(found, signs), text)
    text = _RANGE.sub(lambda found: _read_range(found, signs), text)
    text = patterns.money.sub(lambda found: _read_money(found, signs), text)
    text = patterns.units.sub(lambda found: _read_unit(found, signs), text)
    text = patterns.titles.sub(lambda found: signs.titles[found[1]] + _final_stop(found), text)
    text = _INITIALS.sub(_join_initials, text)
    text = _BETWEEN_NUMBERS.sub(f" {signs.symbols['×']} ", text)
    text = _NEGATIVE.sub(f" {signs.symbols['−']} ", text)
    text = _NUMBER_SIGN.sub(f"{signs.symbols['#']} ", text)
    return _tidy(patterns.symbols.sub(lambda found: f" {signs.symbols[found[0].strip()]} ", text))


def _tidy(text: str) -> str:
    text = _DROPPED.sub(" ", _ARROW.sub(", ", text))
    return re.sub(r"\s+(?=[,.;:!?…](?:\s|$))", "", " ".join(text.split()))


# --- patterns that depend on the language ---


class _Patterns:
    def __init__(self, signs: Signs) -> None:
        marks, magnitudes = _any_of(signs.money), "|".join(signs.magnitudes)
        magnitude = rf"(?:\s(?P<magnitude>{magnitudes})\b)?"
        after = rf"(?P<amount2>{_NUMBER})(?:\s(?P<magnitude2>{magnitudes}))?\s?(?P<mark2>{marks})"
        self.money = re.compile(
            rf"(?:US)?(?P<mark>{marks})\s?(?P<amount>{_NUMBER}){magnitude}|(?<![\d.,]){after}(?!\d)"
        )
        self.units = re.compile(rf"(?<![\w.,])({_NUMBER})\s?({_any_of(signs.units)})(?![\w/²³])")
        # "No." alone is an answer.
        self.titles = re.compile(rf"(?<![\w.])(?!No\.(?!\s?\d))({_any_of(signs.titles)})\.(?=\s?[\w(,;:]|$)")
        plain = "".join(re.escape(symbol) for symbol in signs.symbols if symbol not in "./-_#<>~")
        # Less and greater between things only; about before a number only.
        self.symbols = re.compile(rf"[{plain}]|(?<=\s)[<>](?=\s)|~(?=\d)")


def _any_of(names: Iterable[str]) -> str:
    return "|".join(sorted(map(re.escape, names), key=len, reverse=True))


@cache
def _patterns(language: str) -> tuple[Signs, _Patterns] | None:
    signs = signs_of(language)
    return (signs, _Patterns(signs)) if signs else None


# --- readings ---


def _read_money(found: re.Match[str], signs: Signs) -> str:
    amount = found["amount"] or found["amount2"]
    magnitude = found["magnitude"] or found["magnitude2"]
    one, many, cent, cents = signs.money[found["mark"] or found["mark2"]]
    if magnitude:
        return f"{amount} {magnitude}{signs.of} {many}"
    whole, _, part = amount.rpartition(signs.decimal)
    if not whole or len(part) != 2:
        return f"{amount} {one if amount == '1' else many}"
    spoken = f"{whole} {one if whole == '1' else many}"
    if part == "00":
        return spoken
    return f"{spoken}{signs.cents}{int(part)} {cent if part == '01' else cents}".rstrip()


def _read_unit(found: re.Match[str], signs: Signs) -> str:
    one, many = signs.units[found[2]]
    return f"{found[1]} {one if found[1] == '1' else many}"


def _read_date(found: re.Match[str], signs: Signs) -> str:
    return signs.date.format(year=found[1], month=signs.months[int(found[2]) - 1], day=int(found[3]))


def _read_time(found: re.Match[str], signs: Signs) -> str:
    hours, minutes, seconds = found.groups()
    if seconds:
        return f"{int(hours)} {int(minutes)} {int(seconds)}"
    if minutes == "00":
        return f"{int(hours)}{signs.full_hour}"
    return f"{int(hours)}{signs.hour}{int(minutes)}"


def _read_range(found: re.Match[str], signs: Signs) -> str:
    first, dash, last = found.groups()
    upwards = float(first.replace(",", ".")) < float(last.replace(",", "."))
    # A hyphen between numbers may be a score, a phone number, a code: only what rises is a range.
    return f"{first} {signs.to} {last}" if upwards or dash == "–" else f"{first} {last}"


def _read_url(url: str, signs: Signs) -> str:
    bare = url.rstrip(".,;:!?…")
    address = re.sub(r"^(?:https?://)?(?:www\.)?", "", bare, flags=re.IGNORECASE)
    # What follows ? or # is for machines.
    return _spell_address(re.split(r"[?#]", address)[0].rstrip("/"), signs) + url[len(bare) :]


def _spell_address(address: str, signs: Signs) -> str:
    spelled = "".join(f" {signs.symbols[sign]} " if sign in "./-_@+&=~" else sign for sign in address)
    return " ".join(spelled.replace("%", " ").replace(":", " ").split())


def _join_initials(found: re.Match[str]) -> str:
    letters = [letter for letter in found[0] if letter.isalpha()]
    return " ".join(letters) + (_final_stop(found) or (" " if found[0][-1].isspace() else ""))


def _final_stop(found: re.Match[str]) -> str:
    """The full stop of an abbreviation that ends the sentence ends the sentence."""
    return "." if found.end() == len(found.string) else ""
