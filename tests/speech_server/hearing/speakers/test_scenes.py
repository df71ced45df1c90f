"""Windows that say who speaks in them become one account of the recording, whatever column somebody has in each."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from speech_server.domain import RATE, Activity, Count, Embeddings, Likeness, Samples
from speech_server.hearing.speakers.scenes import Played, Scene, SceneFinder, diarization, edges_of
from speech_server.hearing.speakers.turns import Diarization

WINDOW, STEP, MIDDLE, FRAMES = 10 * RATE, 270, 495, 589
LIKENESS = Likeness(apart=0.26, few_apart=0.24)
VOICES = np.eye(4, dtype=np.float32)
Said = tuple[int, float, float]  # who, from second to second


def scenes(length: float, begin: int = 0, block: float = 3.7) -> list[tuple[Scene, Samples]]:
    finder, found = SceneFinder(WINDOW, begin), []
    sound = np.arange(round(length * RATE), dtype=np.float32) + begin
    nothing = np.empty(0, np.float32)
    for first in range(0, len(sound), round(block * RATE)):
        found += finder.feed(sound[first : first + round(block * RATE)], nothing)
    return [*found, *finder.finish()]


@pytest.mark.parametrize("length", [0.5, 7.4, 7.6, 9.99, 10, 12.5, 12.6, 15, 31.3])
@pytest.mark.parametrize("begin", [0, 600 * RATE])
def test_every_sample_is_decided_once_and_in_the_middle_of_its_window(length: float, begin: int):
    found = scenes(length, begin)
    assert found[0][0].first == begin
    assert found[-1][0].last == begin + round(length * RATE)
    for (before, _), (after, _) in pairwise(found):
        assert after.first == before.last
        assert before.last == before.start + 3 * WINDOW // 4
        assert after.start == before.start + WINDOW // 2
    for scene, sound in found:
        assert len(sound) == WINDOW
        assert sound[0] == scene.start
        assert sound[scene.last - 1 - scene.start] == scene.last - 1


def test_nothing_heard_is_no_scene():
    assert scenes(0) == []


def told(length: float, said: list[Said], *, swap: bool = True) -> Diarization:
    """As a perfect segmentation has it, whose columns are other people's in every other window."""
    played: list[Played] = []
    voices: list[Embeddings] = []
    for number, (scene, _) in enumerate(scenes(length)):
        edges = edges_of(scene, WINDOW, FRAMES, STEP, MIDDLE)
        middles = (edges[:-1] + edges[1:]) / 2 / RATE
        columns = [2, 0, 1] if swap and number % 2 else [0, 1, 2]
        activity: Activity = np.zeros((FRAMES, 3), bool)
        for who, start, end in said:
            activity[:, columns[who]] |= (middles > start) & (middles < end)
        each = Played(scene, activity, edges)
        played.append(each)
        voices += [VOICES[columns.index(column)] for column in each.columns]
    return diarization(played, np.stack(voices), LIKENESS, Count())


def as_said(found: Diarization) -> list[tuple[int, float, float]]:
    return [(each.person, round(each.start / RATE, 1), round(each.end / RATE, 1)) for each in found.passages]


def test_people_are_the_same_in_every_window():
    said = [(0, 0.0, 6.0), (1, 6.5, 14.0), (0, 14.5, 27.0), (2, 28.0, 33.0)]
    assert as_said(told(33.0, said)) == said


def test_who_speaks_at_once_has_a_passage_each():
    said = [(0, 1.0, 20.0), (1, 6.0, 9.0), (2, 18.0, 24.0), (1, 25.0, 28.0)]
    found = told(30.0, said)
    assert as_said(found) == said
    assert found.voices.seconds.tolist() == pytest.approx([19, 6, 6], abs=0.1)
    np.testing.assert_allclose(found.voices.centroids, VOICES[:3], atol=1e-6)


def test_who_is_never_alone_is_made_of_what_there_is_only_where_nobody_is():
    assert len(told(8.0, [(0, 1.0, 5.0), (1, 1.0, 5.0)]).voices) == 2
    assert len(told(8.0, [(0, 1.0, 7.0), (1, 1.0, 5.0)]).voices) == 1


def test_a_blip_is_no_passage():
    assert as_said(told(10.0, [(0, 1.0, 5.0), (0, 7.0, 7.03)])) == [(0, 1.0, 5.0)]


def test_hours_are_as_minutes():
    said = [(number // 8 % 2, float(number), number + 7.5) for number in range(0, 1300, 8)]
    found = told(1308.0, said)
    assert as_said(found) == said
    assert len(found.voices) == 2


def played(*said: Said) -> Played:
    scene = Scene(0, 0, WINDOW)
    edges = edges_of(scene, WINDOW, FRAMES, STEP, MIDDLE)
    middles = (edges[:-1] + edges[1:]) / 2 / RATE
    activity = np.zeros((FRAMES, 3), bool)
    for who, start, end in said:
        activity[:, who] |= (middles > start) & (middles < end)
    return Played(scene, activity, edges)


def test_somebody_is_known_by_what_they_say_alone_where_that_is_enough():
    seconds = np.arange(WINDOW, dtype=np.float32) / RATE
    (alone,) = played((0, 1, 4), (1, 3, 6)).sounds_of(0, seconds)
    assert (alone.min(), alone.max()) == pytest.approx((1, 3), abs=0.02)
    (never,) = played((0, 3.2, 4), (1, 3, 6)).sounds_of(0, seconds)
    assert (never.min(), never.max()) == pytest.approx((3.2, 4), abs=0.02)


def test_what_they_say_after_a_break_is_a_sound_of_its_own_if_it_is_long_enough():
    seconds = np.arange(WINDOW, dtype=np.float32) / RATE
    sounds = played((0, 1, 2), (0, 3, 4.5), (0, 6, 6.3)).sounds_of(0, seconds)
    assert [(sound.min(), sound.max()) for sound in sounds] == [
        (pytest.approx(1, abs=0.02), pytest.approx(2, abs=0.02)),
        (pytest.approx(3, abs=0.02), pytest.approx(4.5, abs=0.02)),
    ]
    (short,) = played((0, 1, 1.3)).sounds_of(0, seconds)
    assert (short.min(), short.max()) == pytest.approx((1, 1.3), abs=0.02)


def test_two_who_speak_at_once_are_two_however_alike():
    sound = (VOICES[0] + 0.05 * VOICES[1]) / np.linalg.norm(VOICES[0] + 0.05 * VOICES[1])
    both, other = played((0, 1, 5), (1, 4, 8)), played((0, 0, 9))
    found = diarization([both, other], np.stack([VOICES[0], sound, VOICES[2]]), LIKENESS, Count(2, 2))
    assert {each.person for each in found.passages if each.end / RATE < 8.1} == {0, 1}
