"""Voices that are alike become one person; how many there are can be told beforehand."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speech_server.domain import Count, Likeness
from speech_server.hearing.speakers.clusters import groups_of, people

LIKENESS = Likeness(apart=0.26, few_apart=0.24)
SIZE = 32


def voices(person: int, count: int, spread: float = 0.1, seed: int = 0) -> np.ndarray:
    """Around an axis of their own: `spread` is the length of what they differ by."""
    random = np.random.default_rng(1000 * person + seed)
    noise = random.normal(0, 1, (count, SIZE))
    noise *= spread / np.linalg.norm(noise, axis=1, keepdims=True)
    around = np.eye(SIZE)[person] + noise
    return (around / np.linalg.norm(around, axis=1, keepdims=True)).astype(np.float32)


def labelled(*each: np.ndarray, seconds: float = 2.0, count: Count | None = None) -> list[int]:
    together = np.concatenate(each)
    groups = groups_of(together, np.full(len(together), seconds, np.float32))
    return people(groups, LIKENESS, count or Count()).tolist()


def test_each_person_has_one_label():
    labels = labelled(voices(0, 5), voices(1, 7), voices(2, 4))
    assert [len(set(labels[first:last])) for first, last in ((0, 5), (5, 12), (12, 16))] == [1, 1, 1]
    assert len(set(labels)) == 3


def test_one_person_is_one():
    assert set(labelled(voices(0, 20, 0.3))) == {0}


def between(one: np.ndarray, two: np.ndarray) -> float:
    return float((1 - one @ two.T).mean())


def test_two_who_are_alike_are_two_where_each_is_like_themselves_and_one_who_varies_is_one():
    even, varied = voices(0, 12, 0.2), voices(0, 24, 0.52)
    other = even + 0.7 * np.eye(SIZE)[1].astype(np.float32)
    other = other / np.linalg.norm(other, axis=1, keepdims=True)
    # No fixed distance tells them apart:
    assert between(even, other) < between(varied[:12], varied[12:]) < LIKENESS.apart
    assert len(set(labelled(even, other))) == 2
    assert len(set(labelled(varied))) == 1


def test_how_much_a_group_differs_in_itself_is_known_of_many_voices():
    each = voices(0, 40, 0.5)
    group = groups_of(each, np.full(40, 2, np.float32)).together(np.zeros(40, int))
    pairs = (1 - each @ each.T)[np.triu_indices(40, 1)]
    assert group.spread(0.16)[0] == pytest.approx(pairs.mean(), abs=0.01)
    alone = groups_of(each[:1], np.full(1, 9, np.float32))
    assert alone.spread(0.16)[0] == pytest.approx(0.16)


def test_nobody_is_nobody():
    assert labelled(np.empty((0, SIZE), np.float32)) == []


@pytest.mark.parametrize("known", [1, 2, 3, 5, 8])
def test_a_known_count_is_kept(known: int):
    labels = labelled(voices(0, 6, 0.3), voices(1, 6, 0.3), voices(2, 6, 0.3), count=Count(known, known))
    assert len(set(labels)) == known


def test_there_are_no_more_people_than_voices():
    assert len(set(labelled(voices(0, 2), count=Count(5, 5)))) == 2


def test_a_short_odd_moment_is_nobody_of_their_own():
    together = np.concatenate((voices(0, 6), voices(1, 6), voices(2, 1)))
    seconds = np.array([2.0] * 12 + [1.3], np.float32)
    assert len(set(people(groups_of(together, seconds), LIKENESS, Count()).tolist())) == 2
    seconds[-1] = 4.0
    assert len(set(people(groups_of(together, seconds), LIKENESS, Count()).tolist())) == 3


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0.5, 20)), min_size=1, max_size=30), st.randoms())
def test_order_does_not_matter(said: list[tuple[int, float]], random: object):
    each = np.concatenate([voices(person, 1, 0.2, seed) for seed, (person, _) in enumerate(said)])
    seconds = np.array([length for _, length in said], np.float32)
    order = np.random.default_rng(random.randrange(1 << 30)).permutation(len(said))  # type: ignore[attr-defined]
    first = people(groups_of(each, seconds), LIKENESS, Count())
    second = people(groups_of(each[order], seconds[order]), LIKENESS, Count())
    assert Counter(zip(first[order], second, strict=True)).keys() == set(zip(first[order], second, strict=True))
    assert len(set(zip(first[order].tolist(), second.tolist(), strict=True))) == len(set(first.tolist()))


def test_groups_of_groups_are_as_far_apart_as_their_voices():
    """What makes it possible to cluster the people of parts: no voice is needed again."""
    one, two = voices(0, 5, 0.4), voices(1, 9, 0.4)
    weights = np.arange(1, 15, dtype=np.float32)
    together = groups_of(np.concatenate((one, two)), weights).together(np.array([0] * 5 + [1] * 9))
    expected = np.average(1 - one @ two.T, weights=np.outer(weights[:5], weights[5:]))
    assert 1 - float(together.means[0] @ together.means[1]) == pytest.approx(expected, abs=1e-5)
