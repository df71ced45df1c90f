"""What every turn model keeps to: a tiny Smart Turn, the example engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from speech_server.domain import RATE, Samples
from speech_server.engines.smart_turn import engine as smart_turn
from tests.speech_server.engines.contracts.subjects import Make, Subject
from tests.speech_server.engines.examples import turn_model as example
from tests.speech_server.networks import LOW, silence, smart_turn_folder, tone

pytestmark = pytest.mark.anyio

EXTREMES = {
    "nothing": np.zeros(0, np.float32),
    "one sample": np.ones(1, np.float32),
    "silence": silence(9),
    "noise": np.random.default_rng(0).uniform(-1, 1, 20 * RATE).astype(np.float32),
    "minutes": tone(LOW, 200),
}


@dataclass
class TurnSubject(Subject):
    async def ask(self, engine: Any) -> AsyncGenerator[float, None]:
        for _ in range(20):
            yield await engine.finished(turn(5))


def turn(seconds: float) -> Samples:
    """Somebody speaks for so long, and has just fallen silent."""
    return np.concatenate((tone(LOW, seconds), silence(0.3)))


def _smart_turn(folder: Path) -> Subject:
    return TurnSubject("smart_turn", smart_turn.load, smart_turn_folder(folder), (smart_turn.FILE,))


def _example(folder: Path) -> Subject:
    return TurnSubject("example", example.load, folder)


CASES: dict[str, Make] = {"smart_turn": _smart_turn, "example": _example}


async def test_who_has_spoken_for_long_has_finished_more_likely_than_who_has_begun(subject: TurnSubject):
    begun, spoken = [await subject.engine.finished(turn(seconds)) for seconds in (1, 6)]
    assert 0 <= begun < 0.5 < spoken <= 1


@pytest.mark.parametrize("sound", EXTREMES.values(), ids=EXTREMES)
async def test_no_sound_is_an_error(subject: TurnSubject, sound: Samples):
    assert 0 <= await subject.engine.finished(sound) <= 1


async def test_many_turns_at_once_get_their_own(subject: TurnSubject):
    lengths = (0.5, 2, 5, 7)
    alone = [await subject.engine.finished(turn(seconds)) for seconds in lengths]
    together = await asyncio.gather(*(subject.engine.finished(turn(seconds)) for seconds in lengths * 4))
    assert together == alone * 4
    assert (subject.engine.batcher.lanes, subject.engine.batcher.waiting) == (0, 0)
