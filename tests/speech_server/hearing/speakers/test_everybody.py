"""The people of a recording, alone and beside those who were met before it."""

from __future__ import annotations

import numpy as np
import pytest

from speech_server.domain import RATE, Count, Embeddings, Likeness
from speech_server.hearing.speakers.clusters import Groups, groups_of
from speech_server.hearing.speakers.everybody import VoicePart, everybody, unit

LIKENESS = Likeness(apart=0.26, few_apart=0.24)
ANNA, BERT, CARL = np.eye(3, dtype=np.float32)


def like(voice: Embeddings, number: int = 0) -> Embeddings:
    """The same person in another mood."""
    return unit(voice + np.random.default_rng(number).normal(0, 0.12, 3).astype(np.float32))


def parts(*said: tuple[Embeddings, float]) -> list[VoicePart]:
    return [VoicePart(number * 3 * RATE, voice, seconds) for number, (voice, seconds) in enumerate(said)]


def met(*voices: Embeddings) -> Groups:
    return groups_of(np.stack(voices), np.full(len(voices), 6, np.float32))


def test_without_anybody_known_two_who_say_little_are_one():
    found = everybody(parts((like(ANNA), 0.9), (like(BERT), 1.0)), LIKENESS, Count())
    assert (len(found.groups), found.met) == (1, [])


def test_beside_people_who_were_met_they_are_these():
    found = everybody(parts((like(ANNA), 0.9), (like(BERT), 1.0)), LIKENESS, Count(), met(BERT, ANNA, CARL))
    bert, anna, carl = found.met
    assert len({bert, anna, carl}) == len(found.groups) == 3
    heard = found.heard.seconds
    assert [heard[anna], heard[bert], heard[carl]] == pytest.approx([0.9, 1.0, 0])
    assert found.heard.means[anna] @ ANNA > 0.9
    assert not found.heard.means[carl].any()


def test_somebody_else_is_somebody_else():
    found = everybody(parts((like(ANNA), 4), (like(CARL), 4)), LIKENESS, Count(), met(ANNA))
    assert len(found.groups) == 2
    (new,) = {0, 1} - set(found.met)
    assert found.heard.seconds[new] == pytest.approx(4)


def test_hours_beside_people_who_were_met():
    said = [VoicePart(minute * 60 * RATE, like([ANNA, BERT][minute % 2], minute), 5.0) for minute in range(90)]
    found = everybody(said, LIKENESS, Count(), met(BERT, CARL))
    assert len(found.groups) == 3
    bert, carl = found.met
    assert (found.heard.seconds[bert], found.heard.seconds[carl]) == pytest.approx((225, 0))
