"""Phrases and what their voices are like -> who speaks when."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from speech_server.domain import RATE, Count, Embeddings, Likeness
from speech_server.hearing.speakers.clusters import Groups
from speech_server.hearing.speakers.everybody import VoicePart, everybody, unit
from speech_server.hearing.speakers.phrases import Phrase

# As found with CAM++, to be taken by an encoder's scale:
_CHANGE = 0.44  # cosine distance between what comes before and after: somebody else goes on
_SWITCH, _SWITCH_AT_PAUSE = 1.1, 0.11  # sums of cosines that another speaker must be better by
_CELL = RATE // 10  # samples: how finely it is decided who speaks
_PAUSE = int(0.08 * RATE)


@dataclass(frozen=True, slots=True)
class Voiced:
    """A phrase with the embeddings of what lies between its cuts, (len(cuts) - 1, size)."""

    phrase: Phrase
    embeddings: Embeddings

    @property
    def edges(self) -> NDArray[np.intp]:
        return np.array(self.phrase.cuts) + self.phrase.start


@dataclass(frozen=True, slots=True)
class Passage:
    """One person speaks, from sample to sample."""

    start: int
    end: int
    person: int


@dataclass(frozen=True, slots=True)
class Diarization:
    """`passages` in order; `voices`: a group of sound for each person; `met`: which of those met before each is."""

    passages: list[Passage]
    voices: Groups
    met: list[int | None] = field(default_factory=list)


NOBODY = Diarization([], Groups(np.empty((0, 0), np.float32), np.empty(0, np.float32)))


def diarization(heard: Sequence[Voiced], likeness: Likeness, count: Count, met: Groups | None = None) -> Diarization:
    """`heard` is in order."""
    if not heard:
        return NOBODY
    parts = [part for voiced in heard for part in _parts(voiced, likeness.scale)]
    all_of_them = everybody(parts, likeness, count, met)
    passages = _path(heard, all_of_them.groups.centroids, likeness.scale)
    return numbered(passages, all_of_them.heard, all_of_them.met)


def numbered(passages: Sequence[Passage], groups: Groups, met: Sequence[int]) -> Diarization:
    """People by the order in which they first speak; who never does is left out. `met`: the persons met before."""
    order = list(dict.fromkeys(passage.person for passage in passages))
    passages = [Passage(each.start, each.end, order.index(each.person)) for each in passages]
    voices = Groups(groups.sums[order], groups.seconds[order])
    return Diarization(passages, voices, [met.index(person) if person in met else None for person in order])


def connected(passages: Iterable[Passage]) -> list[Passage]:
    """In order; where one person goes on without a gap it is one."""
    found: list[Passage] = []
    last: dict[int, int] = {}  # of each person
    for passage in sorted(passages, key=lambda each: (each.start, each.end)):
        before = last.get(passage.person)
        if before is not None and found[before].end == passage.start:
            found[before] = Passage(found[before].start, passage.end, passage.person)
            continue
        last[passage.person] = len(found)
        found.append(passage)
    return found


def _parts(voiced: Voiced, scale: float) -> Iterator[VoicePart]:
    """Each part of a phrase in which one person speaks, as far as can be heard."""
    edges = voiced.edges
    for first, last in pairwise(_changes(voiced.embeddings, _CHANGE * scale)):
        voice = unit(voiced.embeddings[first:last].mean(axis=0))
        yield VoicePart(int(edges[first]), voice, float(edges[last] - edges[first]) / RATE)


def _changes(embeddings: Embeddings, change: float) -> list[int]:
    """Those that begin a part, and the end: where what comes before and what comes after are least alike, and then in
    both halves again."""
    begin = [0, len(embeddings)]
    halves = [(0, len(embeddings))]
    while halves:
        low, high = halves.pop()
        distances = [
            1 - float(unit(embeddings[low:at].mean(axis=0)) @ unit(embeddings[at:high].mean(axis=0)))
            for at in range(low + 1, high)
        ]
        if max(distances, default=0.0) > change:
            at = low + 1 + int(np.argmax(distances))
            begin.append(at)
            halves += [(low, at), (at, high)]
    return sorted(begin)


def _path(heard: Sequence[Voiced], centroids: Embeddings, scale: float) -> list[Passage]:
    """The likeliest sequence of people over cells of a tenth of a second (Viterbi); changing costs, less at a pause."""
    cells = [cell for voiced in heard for cell in _cells(voiced, centroids)]
    at_pause, elsewhere = _SWITCH_AT_PAUSE * scale, _SWITCH * scale
    costs = [0.0] + [at_pause if b[0] - a[1] >= _PAUSE else elsewhere for a, b in pairwise(cells)]
    people = np.arange(len(centroids))
    best = np.zeros(len(centroids))
    came = np.empty((len(cells), len(centroids)), np.intp)
    for at, ((_, _, scores), cost) in enumerate(zip(cells, costs, strict=True)):
        leader = int(best.argmax())
        changed = best[leader] - cost
        came[at] = np.where(best >= changed, people, leader)
        best = np.maximum(best, changed) + scores
    person = int(best.argmax())
    persons = [person]
    for at in range(len(cells) - 1, 0, -1):
        person = int(came[at, person])
        persons.append(person)
    return connected(Passage(start, end, who) for (start, end, _), who in zip(cells, reversed(persons), strict=True))


def _cells(voiced: Voiced, centroids: Embeddings) -> Iterator[tuple[int, int, NDArray[np.float32]]]:
    """Start, end, and how much it sounds like each person: between the middles of what was looked at in proportion."""
    phrase = voiced.phrase
    likeness = voiced.embeddings @ centroids.T
    middles = (voiced.edges[:-1] + voiced.edges[1:]) / 2
    count = max((phrase.end - phrase.start) // _CELL, 1)
    edges = np.linspace(phrase.start, phrase.end, count + 1).astype(int)
    at = (edges[:-1] + edges[1:]) / 2
    scores = np.stack([np.interp(at, middles, each) for each in likeness.T], axis=1)
    yield from zip(edges[:-1].tolist(), edges[1:].tolist(), scores, strict=True)
