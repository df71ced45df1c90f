"""GE2E with its real weights: one person's voice is like itself and unlike another's, whoever shares the batch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import numpy as np
import pytest

from speech_server.audio import decode
from speech_server.domain import RATE, Samples
from speech_server.engines.ge2e import engine as ge2e
from speech_server.engines.ge2e.engine import WINDOW, Ge2e
from speech_server.engines.interfaces import EngineArgs, VoiceSample
from speech_server.errors import Busy, ModelBroken, ShuttingDown
from tests.conftest import ENCODER
from tests.speech_server.conftest import model_folder
from tests.speech_server.voices import CONVERSATION, TRUTH, samples_of, voices_of

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
async def test_steady_noise_hardly_changes_a_voice(encoder: Ge2e):
    random = np.random.default_rng(5)
    noise = 0.1 * np.sqrt(np.mean(np.concatenate(TURNS) ** 2))  # 20 dB below
    noisy = [turn + random.normal(0, noise, len(turn)).astype(np.float32) for turn in TURNS]
    alike = np.sum(await voices_of(encoder, TURNS) * await voices_of(encoder, noisy), axis=1)
    assert alike.min() > 0.87, alike
    assert alike.mean() > 0.93, alike


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


@pytest.mark.anyio
async def test_many_requests_at_once_get_their_own(encoder: Ge2e):
    alone = [await voices_of(encoder, [turn]) for turn in TURNS]
    together = await asyncio.gather(*(voices_of(encoder, [turn]) for turn in TURNS * 3))
    for number, voices in enumerate(together):
        np.testing.assert_allclose(voices, alone[number % len(TURNS)], atol=1e-4)


@pytest.mark.anyio
async def test_who_leaves_takes_their_work_along(encoder: Ge2e):
    async with aclosing(encoder.embed(samples_of(*TURNS * 20))) as voices:
        await anext(voices)
    assert encoder.batcher.lanes == 0
    assert encoder.batcher.waiting == 0


@pytest.mark.anyio
async def test_a_full_queue_is_busy_and_a_closed_one_shuts_down():
    engine = ge2e.load(model_folder(ENCODER), EngineArgs(extra={"max_requests": 1}))
    try:
        async with aclosing(engine.embed(samples_of(*TURNS))) as first:
            await anext(first)
            with pytest.raises(Busy):
                await voices_of(engine, TURNS[:1])
    finally:
        await asyncio.to_thread(engine.batcher.close)
    with pytest.raises(ShuttingDown):
        await voices_of(engine, TURNS[:1])


def test_a_folder_without_the_network_is_a_broken_model(tmp_path: Path):
    with pytest.raises(ModelBroken, match=r"no ge2e\.onnx"):
        ge2e.load(tmp_path, EngineArgs())


def test_a_damaged_network_is_a_broken_model(tmp_path: Path):
    (tmp_path / "ge2e.onnx").write_bytes(b"\x08\x08nonsense")
    with pytest.raises(ModelBroken):
        ge2e.load(tmp_path, EngineArgs())


def test_silence_is_no_error(encoder: Ge2e):
    silent: Samples = np.zeros(RATE, np.float32)
    assert asyncio.run(voices_of(encoder, [silent])).shape == (1, 256)
