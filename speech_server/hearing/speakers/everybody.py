"""What voices are like, all over a recording of any length -> the people there are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from speech_server.domain import RATE, Embeddings
from speech_server.hearing.speakers.clusters import Count, Groups, Likeness, groups_of, people

_SECTION = 600 * RATE  # what is clustered at once: the whole of a long recording would take the square of its memory
_LONG = 0.8  # seconds; from less nobody is made


@dataclass(frozen=True, slots=True)
class VoicePart:
    """One person's voice from about sample `start` on: (size,), of length 1, and how long it is heard."""

    start: int
    voice: Embeddings
    seconds: float


def everybody(parts: Sequence[VoicePart], likeness: Likeness, count: Count) -> Groups:
    """A group for each person; `parts` are in order, at least one."""
    is_long = parts[-1].start - parts[0].start > _SECTION
    found = [_people_of(section, likeness, Count() if is_long else count) for section in _sections(parts)]
    groups = Groups(np.concatenate([each.sums for each in found]), np.concatenate([each.seconds for each in found]))
    return groups.together(people(groups, likeness, count)) if is_long else groups


def _sections(parts: Sequence[VoicePart]) -> Iterator[Sequence[VoicePart]]:
    first = 0
    for last in range(1, len(parts) + 1):
        if last == len(parts) or parts[last].start - parts[first].start > _SECTION:
            yield parts[first:last]
            first = last


def _people_of(parts: Sequence[VoicePart], likeness: Likeness, count: Count) -> Groups:
    longest = max(part.seconds for part in parts)
    taken = [part for part in parts if part.seconds >= min(_LONG, longest)]
    seconds = np.array([part.seconds for part in taken], np.float32)
    groups = groups_of(np.stack([part.voice for part in taken]), seconds)
    return groups.together(people(groups, likeness, count))


def unit(vector: Embeddings) -> Embeddings:
    """The same direction, of length 1."""
    scaled: Embeddings = vector / np.linalg.norm(vector)
    return scaled
