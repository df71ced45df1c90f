"""Splits a transcript into subtitles a person can read: two short lines, a few seconds, one after the other.

Limits: 42 characters a line, 2 lines, 7 seconds (BBC and Netflix guidelines).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate

from speech_server.domain import Segment

LINE = 42
LONGEST = 2 * LINE  # characters of a cue, the break between its lines included
LONGEST_MS = 7000
SHORTEST_MS = 1
PAUSE_MS = 600  # a silence between words at which a cue may well end
COMFORTABLE = 24  # characters; a shorter cue flashes by

SENTENCE_END = re.compile(r"[.!?…。！？][\"'”’)\]]*$")
CLAUSE_END = re.compile(r"[,;:、，；：—–][\"'”’)\]]*$")


@dataclass(frozen=True, slots=True)
class Cue:
    start_ms: int
    end_ms: int
    lines: tuple[str, ...]
    speaker: str | None = None


@dataclass(frozen=True, slots=True)
class Token:
    """The smallest thing a cue can be cut between; `text` keeps the space before it."""

    start_ms: int
    end_ms: int
    text: str


def split(segments: Iterable[Segment]) -> Iterator[Cue]:
    """Cues in order, none overlapping the one before, each inside the limits."""
    reached = 0
    for segment in segments:
        for tokens in group(list(tokens_of(segment))):
            start = max(tokens[0].start_ms, reached)
            end = min(max(tokens[-1].end_ms, start + SHORTEST_MS), start + LONGEST_MS)
            reached = end
            yield Cue(start, end, fit("".join(token.text for token in tokens)), segment.speaker)


def tokens_of(segment: Segment) -> Iterator[Token]:
    """Words with their times; without word times, each gets a share of the segment by its length."""
    if segment.words:
        timed = [(milliseconds(word.start), milliseconds(word.end), word.word) for word in segment.words]
    else:
        timed = [(milliseconds(segment.start), milliseconds(segment.end), segment.text)]
    for start, end, text in timed:
        pieces = [piece for word in re.findall(r"\s*\S+", text.rstrip()) for piece in breakable(word)]
        total = sum(len(piece) for piece in pieces) or 1
        said = 0
        for piece in pieces:
            begin = start + (end - start) * said // total
            said += len(piece)
            yield Token(begin, start + (end - start) * said // total, re.sub(r"\s+", " ", piece))


def breakable(word: str) -> list[str]:
    """A word as it is, or character by character where it is too long for a line or its script has no spaces."""
    spaceless = re.search("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]", word)
    return re.findall(r"\s*\S", word.rstrip()) if spaceless or len(word.strip()) > LINE else [word]


def group(tokens: list[Token]) -> Iterator[list[Token]]:
    """The cheapest way to cut all tokens into cues inside the limits: dynamic programming over where cues end."""
    text = "".join(token.text for token in tokens)
    stops = [0, *accumulate(len(token.text) for token in tokens)]
    starts = [stop + token.text.startswith(" ") for stop, token in zip(stops, tokens, strict=False)]
    sentences = [0, *accumulate(bool(SENTENCE_END.search(token.text)) for token in tokens)]
    least, begins = [0.0], [0]  # of the first `end` tokens: the cost, and where the last cue begins
    for end in range(1, len(tokens) + 1):
        options = []
        for start in range(end - 1, -1, -1):
            too_long = tokens[end - 1].end_ms - tokens[start].start_ms > LONGEST_MS
            if start < end - 1 and (too_long or not fits(text, starts[start], stops[end])):
                break
            inside = sentences[end - 1] - sentences[start]
            options.append((least[start] + cost_of_text(stops[end] - starts[start], inside), start))
        cost, start = min(options)
        least.append(cost + cost_of_ending(tokens, end))
        begins.append(start)
    ends, end = [], len(tokens)
    while end:
        ends.append(end)
        end = begins[end]
    for end in reversed(ends):
        yield tokens[begins[end] : end]


def cost_of_ending(tokens: list[Token], end: int) -> float:
    """A cue had better end with a sentence, else at a pause or with a clause, and not inside a word unless it must."""
    if end == len(tokens) or SENTENCE_END.search(tokens[end - 1].text):
        return 0.0
    if tokens[end].start_ms - tokens[end - 1].end_ms >= PAUSE_MS:
        return 0.2
    if CLAUSE_END.search(tokens[end - 1].text):
        return 0.4
    return 1.0 if tokens[end].text.startswith(" ") else 1.5


def cost_of_text(length: int, sentences_inside: int) -> float:
    """Few cues rather than many, none that is gone before it is read, none that runs on into the next sentence."""
    return 1.0 + max(0.0, 1.0 - length / COMFORTABLE) + 0.6 * sentences_inside


def fits(text: str, start: int, stop: int) -> bool:
    """Whether `fit` finds lines for text[start:stop]."""
    if stop - start <= LINE:
        return True
    if stop - start > LONGEST:
        return False
    # The space in the middle must leave at most a line on both sides; where there is none at all, any place will do.
    return text.rfind(" ", stop - LINE - 1, start + LINE + 1) != -1 or text.find(" ", start, stop) == -1


def fit(text: str) -> tuple[str, ...]:
    """One line, or the two most equal ones, of a text that fits."""
    text = text.strip()
    if len(text) <= LINE:
        return (text,)
    places = [found.start() for found in re.finditer(" ", text)] or range(1, len(text))
    halves = [(text[:place].rstrip(), text[place:].lstrip()) for place in places]
    possible = [half for half in halves if max(map(len, half)) <= LINE]
    return min(possible, key=lambda half: abs(len(half[0]) - len(half[1])))


def milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
