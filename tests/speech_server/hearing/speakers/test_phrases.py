"""Speech is cut at the pauses between people, in any blocks, in noise too; windows lie within it."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from speech_server.audio import decode
from speech_server.domain import FRAME, RATE, Samples
from speech_server.engines.silero.engine import Detector
from speech_server.hearing.speakers.phrases import Phrase, PhraseFinder, cuts_in
from tests.speech_server.voices import CONVERSATION, TRUTH

SOUND = np.concatenate(list(decode.stream(CONVERSATION, decode.Limits(60))))
WINDOW = 2 * RATE


def heard(detector: Detector, sound: Samples, block: int = 30 * RATE, begin: int = 0) -> list[tuple[Phrase, Samples]]:
    finder, stream = PhraseFinder(WINDOW, begin), detector.stream()
    found = []
    blocks = [sound[first : first + block] for first in range(0, len(sound), block)]
    for part in [*blocks, np.zeros(FRAME - len(sound) % FRAME, np.float32)]:
        found += finder.feed(part, stream.feed(part))
    return [*found, *finder.finish()]


def test_nobody_s_sentence_is_in_another_s_utterance(detector: Detector):
    found = [phrase for phrase, _ in heard(detector, SOUND)]
    for phrase in found:
        speakers = {
            turn.speaker
            for turn in TRUTH
            if min(phrase.end / RATE, turn.end) - max(phrase.start / RATE, turn.start) > 0.05
        }
        assert len(speakers) == 1, phrase
    covered = sum(phrase.end - phrase.start for phrase in found) / RATE
    assert covered == pytest.approx(sum(turn.end - turn.start for turn in TRUTH), rel=0.12)


def test_it_is_the_sound_that_was_there(detector: Detector):
    for phrase, sound in heard(detector, SOUND):
        np.testing.assert_array_equal(sound, SOUND[phrase.start : phrase.end])


@pytest.mark.parametrize("block", [FRAME, 4_000, RATE, 7 * RATE])
def test_blocks_change_hardly_anything(detector: Detector, block: int):
    whole = [(u.start, u.end) for u, _ in heard(detector, SOUND)]
    cut = [(u.start, u.end) for u, _ in heard(detector, SOUND, block)]
    assert len(cut) == len(whole)
    assert np.abs(np.array(cut) - np.array(whole)).max() <= RATE // 20  # the noise is known later


def test_a_section_counts_from_where_it_begins(detector: Detector):
    first, later = heard(detector, SOUND), heard(detector, SOUND, begin=10 * RATE)
    assert [u.start + 10 * RATE for u, _ in first] == [u.start for u, _ in later]


@pytest.mark.parametrize("sound", [np.zeros(5 * RATE, np.float32), np.empty(0, np.float32)])
def test_silence_has_none(detector: Detector, sound: Samples):
    assert heard(detector, sound) == []


def test_noise_is_not_taken_for_speech(detector: Detector):
    random = np.random.default_rng(3)
    noisy = SOUND + random.normal(0, 0.1 * np.sqrt(np.square(SOUND).mean()), len(SOUND)).astype(np.float32)
    covered = sum(u.end - u.start for u, _ in heard(detector, noisy)) / RATE
    assert covered == pytest.approx(sum(turn.end - turn.start for turn in TRUTH), rel=0.15)


@pytest.mark.parametrize("length", [1, WINDOW - 1, WINDOW, WINDOW + 1, 3 * WINDOW + 77, 30 * RATE])
def test_a_phrase_is_cut_into_few_equal_parts(length: int):
    cuts = cuts_in(length, WINDOW)
    assert (cuts[0], cuts[-1]) == (0, length)
    parts = [after - before for before, after in pairwise(cuts)]
    assert len(parts) == math.ceil(length / WINDOW)
    assert max(parts) - min(parts) <= 1
    assert max(parts) <= WINDOW
