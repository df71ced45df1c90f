"""How the time of a function grows with its text: CPU time of this thread, which does not count waiting for others."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator

# Of plain text, with what has a meaning there.
LETTERS = (
    "-", "- ", "*", "_", "~", "#", "<", "1", "1,", "1.", "1-2 ", "12:30 ", "2026-11-20 ", "555-1234 ", "$5 ", "5 km",
    "1/2", "19", "#1 ", "http://a", "www.", "a@", "a@b.", "a.b", "a", "a ", "A.", "Mr. ", "! ", "; ", ":", "+", "\"",
    "'", "“", "…", "→", " ", "\t", "\n", "\n\n", "\r", "\u00a0", "é", "中", "。", "，", "😀", "\u200d",
)  # fmt: skip
# And of markup.
ATOMS = (
    *LETTERS, "=", "`", ">", "[", "]", "(", "[]", "](", "![", "|", "| ", "1. ", "\\",
    "&", "&#", "&#1;", "&amp", "<a ", "</", "<p>", "<!--", "-->", "<script", "<br",
)  # fmt: skip
MOST = 2.5  # times the time for twice the text: 2 is in proportion, 4 is a square
ROUNDS = 7
ENOUGH = 1e-3  # seconds; less says nothing

Read = Callable[[str], object]
Text = Callable[[int], str]


def repeated(atom: str) -> Text:
    return lambda size: (atom * (size // len(atom) + 1))[:size]


def mixtures(atoms: tuple[str, ...]) -> Iterator[tuple[str, Text]]:
    """Two atoms in turn, and a run of one before a run of the other: each atom is first with half of the others."""
    for one, other in itertools.combinations(atoms, 2):
        yield f"{one!r} and {other!r} in turn", repeated(one + other)
        if (atoms.index(one) + atoms.index(other)) % 2:
            one, other = other, one
        yield (
            f"{one!r} before {other!r}",
            lambda size, one=one, other=other: repeated(one)(size // 2) + repeated(other)(size // 2),
        )


def growth(read: Read, text: Text, size: int) -> float:
    """Time for twice as many characters, in times of that for once: the least of `size` and some sizes above.

    A square stays one at every size; a pattern's own limit, of 2,000 letters or so, shows at one and no more.
    """
    least = float("inf")
    for factor in (1, 2, 4):
        least = min(least, growth_at(read, text, size * factor))
        if least <= MOST:
            break
    return least


def growth_at(read: Read, text: Text, size: int) -> float:
    """The least times of several runs, as long as they look bad: other work makes a run longer, never shorter."""
    short, long = text(size), text(2 * size)
    least_short = least_long = float("inf")
    for _ in range(ROUNDS):
        least_long = min(least_long, seconds(read, long))
        if least_long < ENOUGH:
            return 0.0
        least_short = min(least_short, seconds(read, short))
        if least_long <= MOST * least_short:
            break
    return least_long / least_short


def seconds(read: Read, text: str) -> float:
    begun = time.thread_time()
    read(text)
    return time.thread_time() - begun
