"""Splits a transcript into subtitles a person can read: two short lines, a few seconds, one after the other.

Limits: 42 characters a line, 2 lines, 7 seconds (BBC and Netflix guidelines).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

LINE = 42
LONGEST = 2 * LINE  # characters of a cue, the break between its lines included
LONGEST_MS = 7000
SHORTEST_MS = 1
PAUSE_MS = 600  # a silence between words at which a cue may well end

SENTENCE_END = re.compile(r"[.!?…。！？][\"'”’)\]]*$")
CLAUSE_END = re.compile(r"[,;:、，；：—–][\"'”’)\]]*$")


class SpokenWord(Protocol):
    @property
    def start(self) -> float: ...
    @property
    def end(self) -> float: ...
    @property
    def word(self) -> str: ...


class Passage(Protocol):
    """A segment of a transcript; `words` may be empty."""

    @property
    def start(self) -> float: ...
    @property
    def end(self) -> float: ...
    @property
    def text(self) -> str: ...
    @property
    def words(self) -> Sequence[SpokenWord]: ...


@dataclass(frozen=True, slots=True)
class Cue:
    start_ms: int
    end_ms: int
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Token:
    """The smallest thing a cue can be cut between; `text` keeps the space before it."""

    start_ms: int
    end_ms: int
    text: str


def split(passages: Iterable[Passage]) -> Iterator[Cue]:
    """Cues in order, none overlapping the one before, each inside the limits."""
    reached = 0
    for passage in passages:
        for tokens in group(list(tokens_of(passage))):
            start = max(tokens[0].start_ms, reached)
            end = min(max(tokens[-1].end_ms, start + SHORTEST_MS), start + LONGEST_MS)
            lines = fit("".join(token.text for token in tokens))
            assert lines is not None
            reached = end
            yield Cue(start, end, lines)


def tokens_of(passage: Passage) -> Iterator[Token]:
    """Words with their times; without word times, each gets a share of the passage by its length."""
    if passage.words:
        timed = [(milliseconds(word.start), milliseconds(word.end), word.word) for word in passage.words]
    else:
        timed = [(milliseconds(passage.start), milliseconds(passage.end), passage.text)]
    for start, end, text in timed:
        pieces = [piece for word in re.findall(r"\s*\S+", text) for piece in breakable(word)]
        total = sum(len(piece) for piece in pieces) or 1
        said = 0
        for piece in pieces:
            begin = start + (end - start) * said // total
            said += len(piece)
            yield Token(begin, start + (end - start) * said // total, re.sub(r"\s+", " ", piece))


def breakable(word: str) -> list[str]:
    """A word as it is, or character by character where it is too long for a line or its script has no spaces."""
    spaceless = re.search("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]", word)
    return re.findall(r"\s*\S", word) if spaceless or len(word.strip()) > LINE else [word]


def group(tokens: list[Token]) -> Iterator[list[Token]]:
    while tokens:
        most = longest_fit(tokens)
        count = most if most == len(tokens) else best_break(tokens, most)
        yield tokens[:count]
        tokens = tokens[count:]


def longest_fit(tokens: list[Token]) -> int:
    """How many of the tokens make the longest cue inside the limits; at least one."""
    text = ""
    for count, token in enumerate(tokens):
        text += token.text
        too_long = token.end_ms - tokens[0].start_ms > LONGEST_MS or fit(text) is None
        if count and too_long:
            return count
    return len(tokens)


def best_break(tokens: list[Token], most: int) -> int:
    """Where to end a cue of at most `most` tokens: late, and better after a sentence, a clause or a pause."""

    def worth(count: int) -> float:
        text, pause = tokens[count - 1].text, tokens[count].start_ms - tokens[count - 1].end_ms
        fullness = count / most
        if SENTENCE_END.search(text):
            return fullness + 1.0
        if pause >= PAUSE_MS:
            return fullness + 0.8
        return fullness + 0.4 if CLAUSE_END.search(text) else fullness

    # A cue cut in the middle of a run without spaces reads worse than one cut at a space.
    spaced = [count for count in range(1, most + 1) if tokens[count].text[:1].isspace()]
    return max(spaced or range(1, most + 1), key=worth)


def fit(text: str) -> tuple[str, ...] | None:
    """One line, or the two most equal ones; None where that takes more than two lines."""
    text = text.strip()
    if len(text) <= LINE:
        return (text,)
    if len(text) > LONGEST:
        return None
    places = [found.start() for found in re.finditer(r"\s", text)] or range(1, len(text))
    halves = [(text[:place].rstrip(), text[place:].lstrip()) for place in places]
    possible = [half for half in halves if max(map(len, half)) <= LINE]
    return min(possible, key=lambda half: abs(len(half[0]) - len(half[1])), default=None)


def milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
