"""Numbers as words, for voices that read letters only: English and Spanish; in others digits stay digits."""

from __future__ import annotations

import re
from collections.abc import Callable

_WORDS = {
    "en": "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen",
    "en tens": "twenty thirty forty fifty sixty seventy eighty ninety",
    "es": "cero uno dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince dieciséis "
    "diecisiete dieciocho diecinueve veinte veintiuno veintidós veintitrés veinticuatro veinticinco veintiséis "
    "veintisiete veintiocho veintinueve",
    "es tens": "treinta cuarenta cincuenta sesenta setenta ochenta noventa",
    "es hundreds": "ciento doscientos trescientos cuatrocientos quinientos seiscientos setecientos ochocientos "
    "novecientos",
}
NAMES = {kind: words.split() for kind, words in _WORDS.items()}
_SCALES = ((10**9, "billion"), (10**6, "million"), (1000, "thousand"), (100, "hundred"))
_ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}
_ORDINAL = re.compile(r"(?<![\w.,])(\d{1,3}(?:,\d{3})+|\d{1,12})(?:st|nd|rd|th)\b", re.IGNORECASE)


def spell_numbers(text: str, language: str) -> str:
    """One piece of text, its numbers written out. What cannot be one number is read digit by digit."""
    if language.startswith("en"):
        text = _ORDINAL.sub(lambda found: _ordinal(int(found[1].replace(",", ""))), text)
        return _replace(text, ",", ".", "point", _english)
    if language.startswith("es"):
        return _replace(text, ".", ",", "coma", _spanish)
    return text


def _replace(text: str, group: str, decimal: str, mark: str, say: Callable[[int], str]) -> str:
    g, d = re.escape(group), re.escape(decimal)
    number = re.compile(rf"(\d{{1,3}}(?:{g}\d{{3}})+(?!\d)|\d+)(?:{d}(\d+))?")

    def read(found: re.Match[str]) -> str:
        whole, part = found[1].replace(group, ""), found[2]
        plain = whole == "0" or not whole.startswith("0")
        words = [say(int(whole))] if plain and len(whole) <= 12 else map(say, map(int, whole))
        decimals = [mark, *map(say, map(int, part))] if part else []
        spelled = " ".join([*words, *decimals])
        before = " " if found.start() and text[found.start() - 1].isalnum() else ""
        after = " " if text[found.end() : found.end() + 1].isalnum() else ""
        return before + spelled + after

    return number.sub(read, text)


def _english(number: int) -> str:
    if number < 20:
        return NAMES["en"][number]
    if number < 100:
        tens = NAMES["en tens"][number // 10 - 2]
        return f"{tens}-{_english(number % 10)}" if number % 10 else tens
    size, name = next(scale for scale in _SCALES if number >= scale[0])
    rest = f" {_english(number % size)}" if number % size else ""
    return f"{_english(number // size)} {name}{rest}"


def _ordinal(number: int) -> str:
    head, space, last = re.fullmatch(r"(?:(.*)([ -]))?(\w+)", _english(number)).groups("")  # type: ignore[union-attr]
    return head + space + (_ORDINALS.get(last) or (f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th"))


def _spanish(number: int) -> str:
    if number < 30:
        return NAMES["es"][number]
    if number < 100:
        tens = NAMES["es tens"][number // 10 - 3]
        return f"{tens} y {_spanish(number % 10)}" if number % 10 else tens
    if number == 100:
        return "cien"
    if number < 1000:
        return _joined(NAMES["es hundreds"][number // 100 - 1], number % 100)
    if number < 10**6:
        return _joined("mil" if number < 2000 else f"{_counting(number // 1000)} mil", number % 1000)
    millions = number // 10**6
    return _joined("un millón" if millions == 1 else f"{_counting(millions)} millones", number % 10**6)


def _joined(head: str, rest: int) -> str:
    return f"{head} {_spanish(rest)}" if rest else head


def _counting(number: int) -> str:
    """As it stands before what it counts: veintiún mil, treinta y un millones."""
    words = _spanish(number)
    if words.endswith("veintiuno"):
        return f"{words[:-3]}ún"
    return words[:-1] if words.endswith("uno") else words
