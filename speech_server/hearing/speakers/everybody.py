"""What voices are like, all over a recording of any length -> the people there are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from speech_server.domain import RATE, Count, Embeddings, Likeness
from speech_server.hearing.speakers.clusters import Groups, Labels, groups_of, joined, people

_SECTION = 600 * RATE  # what is clustered at once: the whole of a long recording would take the square of its memory
_LONG = 0.8  # seconds; from less nobody is made


@dataclass(frozen=True, slots=True)
class VoicePart:
    """One person's voice from about sample `start` on: (size,), of length 1, and how long it is heard."""

    start: int
    voice: Embeddings
    seconds: float


class Everybody:
    """The people of a recording, those met before it among them; `met` says which label each of these has."""

    def __init__(self, met: Groups, found: Groups, labels: Labels) -> None:
        self.met: list[int] = labels[: len(met)].tolist()
        self.groups = joined(met, found).together(labels)
        self.heard = found.together(labels[len(met) :], len(self.groups))  # of each in this recording alone


def everybody(parts: Sequence[VoicePart], likeness: Likeness, count: Count, met: Groups | None = None) -> Everybody:
    """`parts` are in order, at least one; `met` are groups from before, each somebody."""
    sections = list(_sections(parts))
    if len(sections) == 1:
        found = _groups_of(parts)
    else:
        each = [_groups_of(section) for section in sections]
        found = joined(*(groups.together(people(groups, likeness, Count())) for groups in each))
    met = met or Groups(found.sums[:0], found.seconds[:0])
    return Everybody(met, found, people(joined(met, found), likeness, count))


def _sections(parts: Sequence[VoicePart]) -> Iterator[Sequence[VoicePart]]:
    first = 0
    for last in range(1, len(parts) + 1):
        if last == len(parts) or parts[last].start - parts[first].start > _SECTION:
            yield parts[first:last]
            first = last


def _groups_of(parts: Sequence[VoicePart]) -> Groups:
    longest = max(part.seconds for part in parts)
    taken = [part for part in parts if part.seconds >= min(_LONG, longest)]
    seconds = np.array([part.seconds for part in taken], np.float32)
    return groups_of(np.stack([part.voice for part in taken]), seconds)


def unit(vector: Embeddings) -> Embeddings:
    """The same direction, of length 1."""
    scaled: Embeddings = vector / np.linalg.norm(vector)
    return scaled
