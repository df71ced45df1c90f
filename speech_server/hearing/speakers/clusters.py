"""Which voices are one person's: agglomerative clustering by average linkage over the cosine of embeddings.

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


class Groups:
    """`sums` (n, size), `seconds` (n,): what is behind each."""

    def __init__(self, sums: Embeddings, seconds: Seconds) -> None:
        self.sums = sums
        self.seconds = seconds

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
        sums, seconds = np.zeros((count, self.sums.shape[1]), np.float32), np.zeros(count, np.float32)
        np.add.at(sums, labels, self.sums)
        np.add.at(seconds, labels, self.seconds)
        return Groups(sums, seconds)


def groups_of(voices: Embeddings, seconds: Seconds) -> Groups:
    """A group for each voice."""
    return Groups(voices * seconds[:, None], seconds)


def joined(*groups: Groups) -> Groups:
    """The one's and the other's."""
    return Groups(np.concatenate([each.sums for each in groups]), np.concatenate([each.seconds for each in groups]))


def people(groups: Groups, likeness: Likeness, count: Count) -> Labels:
    """Who each group is, 0 and up in no order.

    Where there are fewer than `count` allows, voices must be less alike to be one person; where there are more, the
    most alike are. Quadratic in memory, so for some hundred groups.
    """
    apart = likeness.apart
    while True:
        labels = _few_joined(groups, _linked(groups, apart, count.least), likeness, count.least)
        if _number(labels) >= min(count.least, len(groups)) or apart <= 0:
            break
        apart -= 0.02
    if count.most is not None and _number(labels) > count.most:
        labels = _linked(groups.together(labels), np.inf, count.most)[labels]
    return labels


def _number(labels: Labels) -> int:
    return int(labels.max(initial=-1)) + 1


def _linked(groups: Groups, apart: float, least: int) -> Labels:
    """Joins the two nearest while their mean distance is below `apart` and there are more than `least`."""
    labels = np.arange(len(groups))
    sums, seconds = groups.sums.copy(), groups.seconds.copy()
    means = groups.means
    distance = 1 - means @ means.T
    np.fill_diagonal(distance, np.inf)
    for _ in range(len(groups) - least):
        first, second = np.unravel_index(distance.argmin(), distance.shape)
        if not distance[first, second] < apart:
            break
        sums[first] += sums[second]
        seconds[first] += seconds[second]
        means[first] = sums[first] / seconds[first]
        distance[second], distance[:, second] = np.inf, np.inf
        row = np.where(np.isinf(distance[first]), np.inf, 1 - means @ means[first])
        distance[first], distance[:, first] = row, row
        labels[labels == second] = first
    return np.unique(labels, return_inverse=True)[1]


def _few_joined(groups: Groups, labels: Labels, likeness: Likeness, least: int) -> Labels:
    """A group of few seconds is somebody whose voice was odd for a moment, rather than somebody else."""
    while _number(labels) > least:
        now = groups.together(labels)
        centroids = now.centroids
        distance = 1 - centroids @ centroids.T
        np.fill_diagonal(distance, np.inf)
        nearest = distance.min(axis=1)
        odd = (now.seconds < likeness.few) & ((nearest < likeness.few_apart) | (now.seconds < likeness.least))
        if not odd.any():
            break
        smallest = int(np.where(odd, now.seconds, np.inf).argmin())
        labels = np.where(labels == smallest, distance[smallest].argmin(), labels)
        labels = np.unique(labels, return_inverse=True)[1]
    return labels
