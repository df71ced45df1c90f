"""Smart Turn with a network of its shape: who began more than four seconds ago has finished."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from faster_whisper.feature_extractor import FeatureExtractor

from speech_server.domain import Samples
from speech_server.engines.interfaces import EngineArgs
from speech_server.engines.smart_turn import engine as smart_turn
from speech_server.engines.smart_turn.engine import WINDOW, SmartTurn, features
from speech_server.errors import ModelBroken
from tests.speech_server.networks import LOW, silence, smart_turn_folder, tone


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmartTurn]:
    engine = smart_turn.load(smart_turn_folder(tmp_path_factory.mktemp("smart_turn")), EngineArgs())
    yield engine
    engine.close()


def turn(seconds: float) -> Samples:
    """Somebody speaks for so long, and has just fallen silent."""
    return np.concatenate((tone(LOW, seconds), silence(0.3)))


@pytest.mark.anyio
@pytest.mark.parametrize(("seconds", "probability"), [(0.5, 0.1), (2, 0.1), (5, 0.9), (30, 0.9)])
async def test_the_end_of_a_turn_is_what_is_heard(model: SmartTurn, seconds: float, probability: float):
    assert await model.finished(turn(seconds)) == pytest.approx(probability)


@pytest.mark.parametrize("seconds", [3, 8, 11])
def test_what_the_network_sees_is_whispers_spectrogram_of_eight_seconds_made_equally_loud(seconds: float):
    """faster-whisper's own, which works it out in another way."""
    samples = tone(LOW, seconds) * np.float32(0.05) + np.float32(0.01)
    eight = np.concatenate((silence(max(0.0, 8 - seconds)), samples))[-WINDOW:]
    loud = (eight - eight.mean()) / eight.std()
    expected = FeatureExtractor(chunk_length=8)(loud, padding=0)
    seen = features(samples)
    assert (seen.shape, seen.dtype) == ((80, 800), np.float32)
    np.testing.assert_allclose(seen, expected, atol=2e-3)


def test_nothing_heard_is_no_fault():
    assert np.isfinite(features(np.zeros(0, np.float32))).all()
    assert np.isfinite(features(silence(9))).all()


def test_another_kind_of_network_is_a_broken_model(tmp_path: Path):
    with pytest.raises(ModelBroken, match=r"no smart-turn-v3\.2-cpu\.onnx"):
        smart_turn.load(tmp_path, EngineArgs())
    file = smart_turn_folder(tmp_path) / smart_turn.FILE
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b"logits", b"labels"))
    with pytest.raises(ModelBroken, match="not logits of input_features"):
        smart_turn.load(tmp_path, EngineArgs())
    file.write_bytes(whole.replace(bytes([0x08, 0x50]), bytes([0x08, 0x40])))  # of 64 bands
    with pytest.raises(ModelBroken, match="cannot be loaded"):
        smart_turn.load(tmp_path, EngineArgs())
