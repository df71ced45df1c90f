"""Turns ever-changing guesses at what is being said into text that is only ever appended.

Two guesses in a row must agree on a word before it is sent (LocalAgreement-2, Macháček et al. 2023,
https://arxiv.org/abs/2307.14743).
"""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from itertools import takewhile

# A word with the space before it; in scripts without spaces, a character.
_CHARACTER = r"[\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]"
_WORD = re.compile(rf"\s*(?:{_CHARACTER}|(?:(?!{_CHARACTER})\S)+)")


def words(text: str) -> list[str]:
    return _WORD.findall(text)


def key(word: str) -> str:
    return "".join(c for c in word.casefold() if c.isalnum())


class Deltas:
    """The deltas of one stretch of speech."""

    def __init__(self) -> None:
        self._sent: list[str] = []
        self._last: list[str] = []

    def guess(self, text: str) -> str:
        """What may be appended, given this guess and the one before; often nothing."""
        guessed = words(text)
        agreed = sum(
            1 for _ in takewhile(lambda pair: key(pair[0]) == key(pair[1]), zip(guessed, self._last, strict=False))
        )
        self._last = guessed
        return self._send(guessed[len(self._sent) : agreed])

    def finish(self, text: str) -> str:
        """What remains once the text is known: the words after those sent, as far as the two can be aligned."""
        final = words(text)
        return self._send(final[self._aligned(final) :])

    def _aligned(self, final: list[str]) -> int:
        """How many words of `final` the words already sent stand for."""
        sent = [key(word) for word in self._sent]
        known = [key(word) for word in final]
        if known[: len(sent)] == sent:
            return len(sent)
        blocks = SequenceMatcher(None, sent, known, autojunk=False).get_matching_blocks()[:-1]
        if not blocks:
            return min(len(sent), len(known))
        last = blocks[-1]
        return min(last.b + len(sent) - last.a, len(known))

    def _send(self, new: list[str]) -> str:
        self._sent += new
        return "".join(new)
