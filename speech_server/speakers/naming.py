"""People who were told apart -> their names, turns and what they sound like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from speech_server.domain import RATE, Embeddings, Likeness, Person, SpeakerTurn
from speech_server.hearing.speakers.names import lettered

if TYPE_CHECKING:
    from speech_server.hearing.speakers.clusters import Groups
    from speech_server.hearing.speakers.turns import Diarization

_PAD = 0.03  # seconds on both sides of a turn: its first and last sounds are quieter than what counts as speech
_JOIN = 0.3  # seconds; a shorter pause of one person is no end of their turn


@dataclass(frozen=True, slots=True)
class KnownVoice:
    name: str
    voice: Embeddings  # (size,), of length 1


@dataclass(frozen=True, slots=True)
class WhoSpoke:
    """Turns are in the order in which they begin; where several speak at once they overlap. `likeness`: what distances
    between the people's voices mean."""

    likeness: Likeness
    turns: list[SpeakerTurn] = field(default_factory=list)
    people: list[Person] = field(default_factory=list)


def who_spoke(
    found: Diarization, known: Sequence[KnownVoice], likeness: Likeness, met: Sequence[Person] = ()
) -> WhoSpoke:
    names = _names(found, known, likeness.apart, [person.name for person in met])
    return WhoSpoke(likeness, _turns(found, names), _people(found.voices, names))


def _names(found: Diarization, known: Sequence[KnownVoice], apart: float, met: Sequence[str]) -> list[str]:
    """Of those met before, and those whose voices are known, by what is most alike first; letters for the others, as
    they first speak."""
    import numpy as np

    voices = found.voices
    names: list[str | None] = [None if index is None else met[index] for index in found.met]
    if known and len(voices):
        distance = 1 - voices.centroids @ np.stack([each.voice for each in known]).T
        while distance.min() < apart:
            who, which = np.unravel_index(distance.argmin(), distance.shape)
            names[who] = known[int(which)].name
            distance[who], distance[:, which] = np.inf, np.inf
    return lettered(names, {*met, *(each.name for each in known)})


def _turns(found: Diarization, names: Sequence[str]) -> list[SpeakerTurn]:
    turns: list[SpeakerTurn] = []
    ends: list[int] = []  # of their passages, without the margin
    last: dict[int, int] = {}  # each person's turn
    for passage in found.passages:
        start, end = max(passage.start / RATE - _PAD, 0.0), passage.end / RATE + _PAD
        own = last.get(passage.person)
        # Somebody else's turn in between, unless it began while they spoke, makes two of theirs.
        if own is not None and start - turns[own].end < _JOIN and (own == len(turns) - 1 or _spoken_into(turns, own)):
            turns[own], ends[own] = replace(turns[own], end=end), passage.end
            continue
        for index in last.values():
            before = turns[index]
            if ends[index] <= passage.start and start < before.end:  # margins that meet
                start = (start + before.end) / 2
                turns[index] = replace(before, end=start)
        last[passage.person] = len(turns)
        turns.append(SpeakerTurn(start, end, names[passage.person]))
        ends.append(passage.end)
    return sorted(turns, key=lambda turn: turn.start)


def _spoken_into(turns: Sequence[SpeakerTurn], own: int) -> bool:
    return all(other.start < turns[own].end for other in turns[own + 1 :])


def _people(voices: Groups, names: Sequence[str]) -> list[Person]:
    means = voices.means if len(voices) else ()
    return [
        Person(name, float(seconds), mean) for name, seconds, mean in zip(names, voices.seconds, means, strict=True)
    ]
