"""Text to SpeechT5's tokens, which are characters.

Not by the tokenizers library: the tokenizer.json that is published has a normaliser without its table, at which the
library ends the thread. All it says is which characters there are.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field

from speech_server.engines.json_file import read_json
from speech_server.errors import ModelBroken

LONGEST = 500  # characters in one go; the model has 600 positions for text
_LARGEST_FILE = 1 << 20  # bytes; the published one has 6 kB
_WORD = "▁"  # begins every word
_END = "</s>"
_SAME = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "«": '"', "»": '"', "–": "-", "…": "."})
_Token = Annotated[int, Field(ge=0, lt=100_000)]


class _Alphabet(BaseModel):
    vocab: dict[str, _Token]


class _CharacterTokenizer(BaseModel):
    """What is read of a tokenizer.json."""

    model: _Alphabet


class Characters:
    """A model's characters and their numbers."""

    def __init__(self, numbers: Mapping[str, int]) -> None:
        self._numbers = {character: number for character, number in numbers.items() if len(character) == 1}
        self._end = numbers[_END]

    def encode(self, text: str) -> Iterator[list[int]]:
        """The text in as few parts as the model's positions allow, cut between words where there are any.

        A character the model lacks is read without its accents, or not at all.
        """
        part: list[int] = []
        for word in text.split():
            spelled = self._spell(word)
            while part and len(part) + len(spelled) > LONGEST:
                yield [*part, self._end]
                part = []
            while len(spelled) > LONGEST:
                yield [*spelled[:LONGEST], self._end]
                spelled = spelled[LONGEST:]
            part += spelled
        if part:
            yield [*part, self._end]

    def _spell(self, word: str) -> list[int]:
        """Empty for a word of which nothing is left to say."""
        found = []
        for character in word.translate(_SAME):
            whole = self._numbers.get(character)
            parts = unicodedata.normalize("NFKD", character) if whole is None else character
            found += [self._numbers[part] for part in parts if part in self._numbers and part != _WORD]
        return [self._numbers[_WORD], *found] if found else []


def read_characters(file: Path) -> Characters:
    """Raises ModelBroken."""
    numbers = read_json(file, _CharacterTokenizer, _LARGEST_FILE, "list of characters").model.vocab
    if missing := {_WORD, _END} - numbers.keys():
        raise ModelBroken(f"{file} lacks {' and '.join(sorted(missing))}: it is no list of SpeechT5's characters")
    return Characters(numbers)
