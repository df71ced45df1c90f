"""What people are called: by their names, those whose names nobody knows by letters, as they first speak."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import count


def lettered(names: Sequence[str | None], known: Collection[str]) -> list[str]:
    """A letter for each None, in order. No letter is somebody's name, whether they are heard or not."""
    letters = (letter for number in count() if (letter := letter_of(number)) not in known)
    return [next(letters) if name is None else name for name in names]


def letter_of(number: int) -> str:
    """A to Z, AA to ZZ and on."""
    letters = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters
