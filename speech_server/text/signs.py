"""What is known of each language: the words of signs.json, by which signs are read. Numbers are left to espeak."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter


class Signs(BaseModel):
    """Words of one language."""

    model_config = ConfigDict(frozen=True)

    decimal: str  # the mark before a number's decimals
    to: str  # 10-20
    hour: str  # between the hours and minutes of 10:30
    full_hour: str  # after the hours of 10:00
    date: str  # of {year}, {month}, {day}
    months: tuple[str, ...]
    function_words: frozenset[str]  # no spoken piece may end on one: articles, prepositions, pronouns, auxiliaries
    cents: str  # between money and its hundredths
    of: str  # between a magnitude and its money: 5 millones de euros
    magnitudes: tuple[str, ...]
    money: dict[str, tuple[str, str, str, str]]  # one, many, one hundredth, many hundredths
    units: dict[str, tuple[str, str]]  # one, many
    symbols: dict[str, str]
    titles: dict[str, str]  # abbreviations, without their full stop


def signs_of(language: str) -> Signs | None:
    """`language` as en-us or fr; None where its signs are left to the engine's own reader."""
    return _read().get(language[:2])


@cache
def _read() -> dict[str, Signs]:
    return TypeAdapter(dict[str, Signs]).validate_json(Path(__file__).with_name("signs.json").read_bytes())
