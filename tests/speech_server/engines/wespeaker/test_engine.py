"""WeSpeaker with a network of its shape: Kaldi's filter banks go in, a vector of length 1 for each window comes out."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest

from speech_server.domain import Samples
from speech_server.engines.interfaces import EngineArgs
from speech_server.engines.wespeaker import engine as wespeaker
from speech_server.engines.wespeaker.engine import WeSpeaker
from speech_server.errors import ModelBroken
from tests.speech_server.networks import HIGH, LOW, silence, tone, wespeaker_folder
from tests.speech_server.voices import voices_of


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WeSpeaker]:
    engine = wespeaker.load(wespeaker_folder(tmp_path_factory.mktemp("wespeaker")), EngineArgs())
    yield engine
    engine.close()


@pytest.mark.anyio
async def test_two_tones_are_two_people(encoder: WeSpeaker):
    voices = await voices_of(encoder, [tone(LOW, 2), tone(HIGH, 2), tone(LOW, 3, seed=1)])
    assert voices.shape == (3, 256)
    np.testing.assert_allclose(np.linalg.norm(voices, axis=1), 1, atol=1e-5)
    assert voices[0] @ voices[2] > 1 - encoder.likeness.apart > voices[0] @ voices[1]


@pytest.mark.anyio
async def test_loudness_does_not_matter(encoder: WeSpeaker):
    loud, quiet = await voices_of(encoder, [tone(LOW, 2), tone(LOW, 2) * np.float32(1e-3)])
    assert loud @ quiet > 0.9999


@pytest.mark.anyio
async def test_sounds_of_all_lengths_are_each_looked_at_for_themselves(encoder: WeSpeaker):
    sounds = [tone(LOW, 2), tone(HIGH, 1), tone(LOW, 0.3), tone(HIGH, 2), tone(HIGH, 1.1), tone(LOW, 1)]

    async def lot() -> AsyncIterator[list[Samples]]:
        yield sounds

    (together,) = [part async for part in encoder.embed(lot())]
    np.testing.assert_allclose(together, await voices_of(encoder, sounds), atol=1e-4)


def test_its_filter_banks_are_kaldi_s(encoder: WeSpeaker):
    """Against a filter by hand: a pure tone is loudest in the band it lies in, of 80 between 20 Hz and 8 kHz."""

    def mel(hertz: float) -> float:
        return 1127 * float(np.log(1 + hertz / 700))

    sound = np.concatenate((silence(0.75), tone(HIGH, 0.75)))
    window = encoder.features(sound)
    assert window.shape == (148, 80)
    np.testing.assert_allclose(window.mean(axis=0), 0, atol=1e-4)
    band = round((mel(HIGH) - mel(20)) / (mel(8000) - mel(20)) * 81) - 1
    assert abs(int(window[-40:].mean(axis=0).argmax()) - band) <= 1


def workers() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("wespeaker")}


def test_another_kind_of_network_is_a_broken_model(tmp_path: Path):
    before = workers()
    with pytest.raises(ModelBroken, match=r"no campplus\.onnx"):
        wespeaker.load(tmp_path, EngineArgs())
    folder = wespeaker_folder(tmp_path)
    model = folder / wespeaker.RESNET34.file
    model.write_bytes(model.read_bytes().replace(b"feats", b"input"))
    with pytest.raises(ModelBroken, match=r"makes \['embs'\] of \['input'\]"):
        wespeaker.load(folder, EngineArgs())
    assert workers() == before, "threads that nobody will close"
