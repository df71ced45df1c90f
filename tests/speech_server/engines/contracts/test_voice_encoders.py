"""What every voice encoder keeps to: real CAM++, a tiny ResNet34, the example engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from speech_server.audio import decode
from speech_server.domain import RATE, Embeddings, Samples
from speech_server.engines.wespeaker import engine as wespeaker
from tests.conftest import ENCODER
from tests.speech_server.conftest import model_folder
from tests.speech_server.engines.contracts.subjects import Make, Subject, all_of, given
from tests.speech_server.engines.examples import voice_encoder as example
from tests.speech_server.networks import HIGH, LOW, silence, tone, wespeaker_folder
from tests.speech_server.voices import CONVERSATION, TRUTH

pytestmark = pytest.mark.anyio

TONES = (tone(LOW, 4), tone(HIGH, 5))
EXTREMES = {
    "one sample": np.full(1, 0.5, np.float32),
    "silence": silence(2),
    "nearly silence": tone(LOW, 2) * np.float32(1e-6),
    "clipped": np.sign(tone(LOW, 2)),
    "noise": np.random.default_rng(0).uniform(-1, 1, 2 * RATE).astype(np.float32),
    "constant": np.ones(2 * RATE, np.float32),
}


@dataclass
class EncoderSubject(Subject):
    people: tuple[Samples, Samples] = TONES  # each longer than two windows

    def ask(self, engine: Any) -> AsyncGenerator[Embeddings, None]:
        return engine.embed(given([self.people[number % 2][: engine.window]] for number in range(40)))

    def voice(self, person: int, at: int = 0) -> Samples:
        return self.people[person][at : at + self.engine.window]


def _campplus(folder: Path) -> Subject:
    sound = np.concatenate(list(decode.stream(CONVERSATION, decode.Limits(60))))
    one, other = (sound[round(turn.start * RATE) : round(turn.end * RATE)] for turn in TRUTH[:2])
    return EncoderSubject("wespeaker", wespeaker.load, model_folder(ENCODER), (wespeaker.CAMPPLUS.file,), (one, other))


def _resnet34(folder: Path) -> Subject:
    return EncoderSubject("wespeaker", wespeaker.load, wespeaker_folder(folder), (wespeaker.RESNET34.file,))


def _example(folder: Path) -> Subject:
    return EncoderSubject("example", example.load, folder)


CASES: dict[str, Make] = {"campplus": _campplus, "resnet34": _resnet34, "example": _example}


async def embedded(subject: EncoderSubject, *lots: list[Samples]) -> list[Embeddings]:
    return await all_of(subject.engine.embed(given(lots)))


async def test_a_voice_is_a_vector_of_length_one(subject: EncoderSubject):
    (voices,) = await embedded(subject, [subject.voice(0), subject.voice(0, RATE), subject.voice(1)])
    (again,) = await embedded(subject, [subject.voice(1)])
    assert voices.dtype == np.float32
    assert voices.shape == (3, again.shape[1])
    np.testing.assert_allclose(np.linalg.norm(voices, axis=1), 1, atol=1e-4)


async def test_people_are_like_themselves_and_unlike_others(subject: EncoderSubject):
    window = subject.engine.window
    (voices,) = await embedded(subject, [subject.voice(person, at) for person in (0, 1) for at in (0, window)])
    alike = voices @ voices.T
    assert min(alike[0, 1], alike[2, 3]) > alike[:2, 2:].max()


async def test_its_distances_have_a_meaning(subject: EncoderSubject):
    likeness = subject.engine.likeness
    assert 0 < likeness.apart < 1
    assert 0 < likeness.few_apart < 1
    assert likeness.scale > 0


async def test_lots_come_back_in_their_order_each_with_all_its_sounds(subject: EncoderSubject):
    lots = [[subject.voice(number % 2, 160 * at) for at in range(number)] for number in range(1, 7)]
    voices = await embedded(subject, *lots)
    assert [len(lot) for lot in voices] == [1, 2, 3, 4, 5, 6]
    expected = [(await embedded(subject, [subject.voice(person)]))[0][0] for person in (0, 1)]
    for number, lot in enumerate(voices, 1):
        assert lot[0] @ expected[number % 2] > lot[0] @ expected[1 - number % 2]
    assert await embedded(subject) == []


async def test_a_lot_may_have_many_sounds(subject: EncoderSubject):
    starts = range(0, len(subject.people[0]) - subject.engine.window, 320)
    (voices,) = await embedded(subject, [subject.voice(0, start) for start in starts])
    assert len(voices) == len(starts) > 50


async def test_a_shorter_sound_is_enough(subject: EncoderSubject):
    """It is more like the whole of this person than like another."""
    window = subject.engine.window
    short = [subject.voice(person, window)[: window // 2] for person in (0, 1)]
    (voices,) = await embedded(subject, [*short, subject.voice(0), subject.voice(1)])
    alike = voices[:2] @ voices[2:].T
    assert alike[0, 0] > alike[0, 1]
    assert alike[1, 1] > alike[1, 0]


async def test_company_changes_no_voice(subject: EncoderSubject):
    lots = [
        [subject.voice(0)],
        [subject.voice(1), subject.voice(1, 160), subject.voice(0)[: RATE // 2]],
        [subject.voice(0, 320), subject.voice(1)[:RATE]],
    ]
    alone = [(await embedded(subject, lot))[0] for lot in lots]
    together = await asyncio.gather(*(embedded(subject, lot) for lot in lots * 4))
    for number, (voices,) in enumerate(together):
        np.testing.assert_allclose(voices, alone[number % len(lots)], atol=1e-4)
    assert (subject.engine.batcher.lanes, subject.engine.batcher.waiting) == (0, 0)


@pytest.mark.parametrize("sound", EXTREMES.values(), ids=EXTREMES)
async def test_no_sound_is_an_error(subject: EncoderSubject, sound: Samples):
    (voices,) = await embedded(subject, [sound])
    assert len(voices) == 1
    assert np.isfinite(voices).all()
