"""Which voices are one person's: agglomerative clustering by average linkage over the cosine of embeddings, less what
the voices of each group differ among themselves. Two alike who each speak evenly are two; one who varies is one.

A group is the sum of its voices, each weighted by its seconds. The mean distance between all voices of two groups is
then one product of two means, whatever the groups were made of: the same function clusters the voices of ten minutes,
the groups of ten hours, and those of pieces that different workers have heard.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from speech_server.domain import Count, Embeddings, Likeness

Labels = NDArray[np.intp]
Seconds = NDArray[np.float32]
_NOTHING = np.float32(1e-6)  # seconds
_VOICE = 2.0  # seconds that a voice is usually heard for, where nobody says
_SPREAD = 0.34  # as found with CAM++: mean distance of one person's voices, to be taken by an encoder's scale
_FEW_OF = 0.02  # of all that is heard: in an hour there are more odd moments than in a minute
_DOUBT = 4.0  # voices that this weighs as much as, beside those of a group


class Groups:
    """`sums` (n, size), `seconds` (n,): what is behind each; `squares` (n,): the sum of its voices' squared seconds."""

    def __init__(self, sums: Embeddings, seconds: Seconds, squares: Seconds | None = None) -> None:
        self.sums = sums
        self.seconds = seconds
        self.squares = seconds * np.minimum(seconds, np.float32(_VOICE)) if squares is None else squares

    def __len__(self) -> int:
        return len(self.seconds)

    @property
    def means(self) -> Embeddings:
        """Nothing where nothing was heard."""
        seconds: Seconds = np.maximum(self.seconds, _NOTHING)
        means: Embeddings = self.sums / seconds[:, None]
        return means

    @property
    def centroids(self) -> Embeddings:
        """Each of length 1."""
        unit: Embeddings = self.sums / np.linalg.norm(self.sums, axis=1, keepdims=True)
        return unit

    def together(self, labels: Labels, count: int | None = None) -> Groups:
        """One group for each label, 0 and up; `count` of them, where the last may have nothing."""
        count = int(labels.max(initial=-1)) + 1 if count is None else count
        sums = np.zeros((count, self.sums.shape[1]), np.float32)
        seconds, squares = np.zeros(count, np.float32), np.zeros(count, np.float32)
        np.add.at(sums, labels, self.sums)
        np.add.at(seconds, labels, self.seconds)
        np.add.at(squares, labels, self.squares)
        return Groups(sums, seconds, squares)

    def spread(self, usual: float) -> Seconds:
        """The mean distance between two voices of each; of few voices it is nearer to the `usual` one."""
        squares = np.maximum(self.squares, _NOTHING)
        voices = np.maximum(self.seconds**2 / squares - 1, 0)  # beside the first, as many as would weigh the same
        pairs = np.maximum(self.seconds**2 - squares, _NOTHING)
        found = np.where(voices > _NOTHING, 1 - (np.square(self.sums).sum(axis=1) - squares) / pairs, 0)
        spread: Seconds = ((voices * found + _DOUBT * usual) / (voices + _DOUBT)).astype(np.float32)
        return spread


def groups_of(voices: Embeddings, seconds: Seconds) -> Groups:
    """A group for each voice."""
    return Groups(voices * seconds[:, None], seconds, np.square(seconds))


def joined(*groups: Groups) -> Groups:
    """The one's and the other's."""
    sums, seconds, squares = zip(*((each.sums, each.seconds, each.squares) for each in groups), strict=True)
    return Groups(np.concatenate(sums), np.concatenate(seconds), np.concatenate(squares))


def people(groups: Groups, likeness: Likeness, count: Count) -> Labels:
    """Who each group is, 0 and up in no order.

    Where there are fewer than `count` allows, voices must be less alike to be one person; where there are more, the
    most alike are. Quadratic in memory, so for some hundred groups.
    """
    apart, usual = likeness.apart, _SPREAD * likeness.scale
    while True:
        labels = _few_joined(groups, _linked(groups, apart, count.least, usual), likeness, count.least)
        if _number(labels) >= min(count.least, len(groups)) or apart <= 0:
            break
        apart -= 0.02
    if count.most is not None and _number(labels) > count.most:
        labels = _linked(groups.together(labels), np.inf, count.most, usual)[labels]
    return labels


def _number(labels: Labels) -> int:
    return int(labels.max(initial=-1)) + 1


def _linked(groups: Groups, apart: float, least: int, usual: float) -> Labels:
    """Joins the two nearest while they are less than `apart` and there are more than `least`.

    `apart` is meant for two whose voices differ among themselves as `usual`.
    """
    labels = np.arange(len(groups))
    sums, seconds, squares = groups.sums.copy(), groups.seconds.copy(), groups.squares.copy()
    means, spread = groups.means, groups.spread(usual) - usual
    distance = 1 - means @ means.T
    np.fill_diagonal(distance, np.inf)
    for _ in range(len(groups) - least):
        between = distance - (spread[:, None] + spread) / 2
        first, second = np.unravel_index(between.argmin(), between.shape)
        if not between[first, second] < apart:
            break
        for each in (sums, seconds, squares):
            each[first] += each[second]
        both = Groups(sums[[first]], seconds[[first]], squares[[first]])
        means[first], spread[first] = both.means[0], both.spread(usual)[0] - usual
        distance[second], distance[:, second] = np.inf, np.inf
        row = np.where(np.isinf(distance[first]), np.inf, 1 - means @ means[first])
        distance[first], distance[:, first] = row, row
        labels[labels == second] = first
    return np.unique(labels, return_inverse=True)[1]


def _few_joined(groups: Groups, labels: Labels, likeness: Likeness, least: int) -> Labels:
    """A group of few seconds is somebody whose voice was odd for a moment, rather than somebody else."""
    few = max(likeness.few, _FEW_OF * float(groups.seconds.sum()))
    while _number(labels) > least:
        now = groups.together(labels)
        centroids = now.centroids
        distance = 1 - centroids @ centroids.T
        np.fill_diagonal(distance, np.inf)
        nearest = distance.min(axis=1)
        odd = (now.seconds < few) & ((nearest < likeness.few_apart) | (now.seconds < likeness.least))
        if not odd.any():
            break
        smallest = int(np.where(odd, now.seconds, np.inf).argmin())
        labels = np.where(labels == smallest, distance[smallest].argmin(), labels)
        labels = np.unique(labels, return_inverse=True)[1]
    return labels
