"""GE2E with its real weights: one person's voice is like itself and unlike another's, whoever shares the batch."""

from __future__ import annotations

from collections.abc import AsyncIterator

import numpy as np
import pytest

from speech_server.audio import decode
from speech_server.domain import RATE
from speech_server.engines.ge2e.engine import WINDOW, Ge2e
from speech_server.engines.interfaces import VoiceSample
from tests.speech_server.voices import CONVERSATION, TRUTH, voices_of

SOUND = np.concatenate(list(decode.stream(CONVERSATION, decode.Limits(60))))
TURNS = [SOUND[round(turn.start * RATE) : round(turn.end * RATE)] for turn in TRUTH]


@pytest.mark.anyio
async def test_people_sound_like_themselves(encoder: Ge2e):
    voices = await voices_of(encoder, TURNS)
    alike = voices @ voices.T
    for one in range(len(TRUTH)):
        others = [two for two in range(len(TRUTH)) if two != one]
        assert TRUTH[max(others, key=lambda two: alike[one, two])].speaker == TRUTH[one].speaker, alike[one]


@pytest.mark.anyio
async def test_a_voice_has_length_one_and_its_loudness_does_not_matter(encoder: Ge2e):
    loud, quiet, tiny = await voices_of(encoder, [TURNS[1], TURNS[1] * 0.02, TURNS[1] * 0.001])
    assert np.linalg.norm(loud) == pytest.approx(1, abs=1e-4)
    assert loud @ quiet > 0.9  # only what is quiet is raised
    assert quiet @ tiny > 0.999


@pytest.mark.anyio
async def test_each_window_is_embedded_for_itself(encoder: Ge2e):
    starts = (0, WINDOW // 2, WINDOW)
    sound = TURNS[1][: 2 * WINDOW]

    async def whole() -> AsyncIterator[list[VoiceSample]]:
        yield [VoiceSample(sound, starts)]

    together = [part async for part in encoder.embed(whole())]
    assert together[0].shape == (3, 256)
    alone = await voices_of(encoder, [sound[start : start + WINDOW] for start in starts])
    assert np.all(np.sum(together[0] * alone, axis=1) > 0.98)  # frames at the cuts see what is beside them
