"""A Parakeet's tokens, and what their number tells of the languages it knows. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from speech_server.errors import ModelBroken

# What NVIDIA trained v3 on.
EUROPEAN = (
    "bg", "cs", "da", "de", "el", "en", "es", "et", "fi", "fr", "hr", "hu", "it", "lt", "lv", "mt", "nl", "pl", "pt",
    "ro", "ru", "sk", "sl", "sv", "uk",
)  # fmt: skip
ENGLISH = ("en",)
_ONE_LANGUAGE = 4_096  # tokens at most: v2 has 1025, v3 has 8193
_BLANK = "<blk>"


def languages_of(tokens: Sequence[str]) -> tuple[str, ...]:
    """Nothing else in a model's files says it."""
    return ENGLISH if len(tokens) <= _ONE_LANGUAGE else EUROPEAN


def parse_vocabulary(text: str, source: Path) -> tuple[str, ...]:
    """The tokens by their number, of lines `token number`; a word begins with a space. Raises ModelBroken."""
    tokens = []
    for number, line in enumerate(text.splitlines()):
        token, space, given = line.partition(" ")
        if not token or not space or given != str(number):
            raise ModelBroken(f"{source} is no vocabulary: line {number + 1} should be a token and {number}")
        tokens.append(token.replace("\N{LOWER ONE EIGHTH BLOCK}", " "))
    if _BLANK not in tokens:
        raise ModelBroken(f"{source} is no vocabulary of a transducer: it has no {_BLANK}")
    return tuple(tokens)
