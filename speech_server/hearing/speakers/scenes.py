"""Windows of a recording in each of which somebody has told who speaks -> who speaks when, and who at once.

Windows overlap by half, and each decides over its middle, where it knows what comes before and after. Who is the first
of one may be the second of the next: people are found by their voices, one for each window that somebody is in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from speech_server.domain import RATE, Activity, Count, Embeddings, Likeness, Samples
from speech_server.hearing.clip import runs
from speech_server.hearing.speakers.clusters import Groups
from speech_server.hearing.speakers.everybody import VoicePart, everybody
from speech_server.hearing.speakers.turns import Diarization, Passage, connected, numbered

_ALONE = RATE // 2  # samples of somebody alone, from which on what others speak into says no more of their voice
_TOGETHER = RATE // 10  # samples that two speak at once, from which on they are two
_SHORTEST = 6 * RATE // 100  # samples; less is no passage


@dataclass(frozen=True, slots=True)
class Scene:
    """A window that begins at sample `start` of the recording, and decides from `first` to `last`."""

    start: int
    first: int
    last: int


class SceneFinder:
    """Feed blocks; `begin` is the sample at which the first one begins. Holds back the sound of one window."""

    def __init__(self, window: int, begin: int = 0) -> None:
        self._window = window
        self._samples = np.empty(0, np.float32)
        self._start = self._decided = begin

    def feed(self, samples: Samples, probabilities: NDArray[np.float32]) -> Iterator[tuple[Scene, Samples]]:
        self._samples = np.concatenate((self._samples, samples))
        while len(self._samples) >= self._window:
            yield self._scene(self._start + 3 * self._window // 4), self._samples[: self._window]
            self._start += self._window // 2
            self._samples = self._samples[self._window // 2 :]

    def finish(self) -> Iterator[tuple[Scene, Samples]]:
        end = self._start + len(self._samples)
        if end > self._decided:
            yield self._scene(end), np.pad(self._samples, (0, self._window - len(self._samples)))

    def _scene(self, last: int) -> Scene:
        scene = Scene(self._start, self._decided, last)
        self._decided = last
        return scene


class Played:
    """A scene, and who speaks in each of its frames; these lie between `edges`, samples of the recording."""

    def __init__(self, scene: Scene, activity: Activity, edges: NDArray[np.intp]) -> None:
        self.scene = scene
        self.activity = activity
        self.edges = edges
        decided = np.clip(edges, scene.first, scene.last)
        samples = np.diff(decided) @ activity
        self.columns: list[int] = np.flatnonzero(samples).tolist()  # those who speak where it decides
        self.seconds = samples[self.columns] / RATE
        self._widths = np.diff(edges)
        self._alone = activity & (activity.sum(axis=1) == 1)[:, None]

    def is_alone(self, column: int) -> bool:
        """Long enough to be known by it."""
        return bool(self._widths[self._alone[:, column]].sum() >= _ALONE)

    def sounds_of(self, column: int, samples: Samples) -> list[Samples]:
        """What this person says in the scene's `samples`, each without a break: alone, where that is enough."""
        speaks = self._alone if self.is_alone(column) else self.activity
        sounds = [samples[at : at + length] for at, length in runs(np.repeat(speaks[:, column], self._widths))]
        enough = min(_ALONE, max(map(len, sounds)))
        return [sound for sound in sounds if len(sound) >= enough]

    def speak_at_once(self, one: int, other: int) -> bool:
        both = self.activity[:, one] & self.activity[:, other]
        return bool(self._widths[both].sum() >= _TOGETHER)

    def passages_of(self, columns: Sequence[int]) -> Iterator[tuple[int, int]]:
        speaks = np.logical_or.reduce(self.activity[:, columns], axis=1)
        for first, length in runs(speaks):
            start, end = max(self.edges[first], self.scene.first), min(self.edges[first + length], self.scene.last)
            if start < end:
                yield int(start), int(end)


def edges_of(scene: Scene, window: int, frames: int, step: int, middle: int) -> NDArray[np.intp]:
    """(frames + 1,): each frame's samples lie round its middle, the outermost's reach to the window's ends."""
    edges = scene.start + middle - step // 2 + step * np.arange(frames + 1)
    edges[0], edges[-1] = scene.start, scene.start + window
    return edges


def diarization(
    played: Sequence[Played], voices: Embeddings, likeness: Likeness, count: Count, met: Groups | None = None
) -> Diarization:
    """`voices`: of each scene's `columns`, one after the other."""
    ends = np.cumsum([len(each.columns) for each in played])
    parts = [
        (VoicePart(each.scene.first, voice, float(seconds)), each.is_alone(column))
        for each, own in zip(played, np.split(voices, ends[:-1]), strict=True)
        for voice, seconds, column in zip(own, each.seconds, each.columns, strict=True)
    ]
    # What two say at once sounds like neither: nobody is made of it where there is anything else.
    alone = [part for part, is_alone in parts if is_alone]
    all_of_them = everybody(alone or [part for part, _ in parts], likeness, count, met)
    alike = np.split(voices @ all_of_them.groups.centroids.T, ends[:-1])
    found = [
        Passage(start, end, person)
        for each, own in zip(played, alike, strict=True)
        for person, columns in _cast(each, own).items()
        for start, end in each.passages_of(columns)
    ]
    passages = [each for each in connected(found) if each.end - each.start >= _SHORTEST]
    heard = all_of_them.heard
    seconds = np.zeros(len(heard), np.float32)
    for passage in passages:
        seconds[passage.person] += (passage.end - passage.start) / RATE
    return numbered(passages, Groups(heard.means * seconds[:, None], seconds), all_of_them.met)


def _cast(played: Played, alike: NDArray[np.float32]) -> dict[int, list[int]]:
    """Who of all people each of a scene is: the most alike, but two who speak at once are two. Person -> columns."""
    persons = alike.argmax(axis=1)
    for one, other in combinations(range(len(persons)), 2):
        is_one = persons[one] == persons[other] and alike.shape[1] > 1
        if is_one and played.speak_at_once(played.columns[one], played.columns[other]):
            weaker = min(one, other, key=lambda role: alike[role].max())
            persons[weaker] = alike[weaker].argsort()[-2]
    cast: dict[int, list[int]] = {}
    for person, column in zip(persons.tolist(), played.columns, strict=True):
        cast.setdefault(person, []).append(column)
    return cast
