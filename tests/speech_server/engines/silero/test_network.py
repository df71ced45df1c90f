"""The rewritten network tells what the published one tells, and another network than that stays as it is."""

from __future__ import annotations

from pathlib import Path

import faster_whisper
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from speech_server.domain import FRAME, Samples
from speech_server.engines.interfaces import EngineArgs
from speech_server.engines.onnx import open_session
from speech_server.engines.silero import engine as silero
from speech_server.engines.silero import network
from speech_server.engines.silero.engine import Detector
from speech_server.engines.silero.onnx_file import read_weights
from tests.speech_server.engines.silero.test_engine import CLIP

PUBLISHED = next((Path(faster_whisper.__file__).parent / "assets").glob("silero_vad*.onnx"))
SOUNDS = {
    "speech": CLIP,
    "loud": (30 * CLIP).clip(-1, 1),
    "noise": np.random.default_rng(1).normal(0, 0.3, 300 * FRAME).astype(np.float32),
    "silence": np.zeros(300 * FRAME, np.float32),
    "a click": np.eye(1, 20 * FRAME, 5000, dtype=np.float32)[0],
}


def published(samples: Samples) -> np.ndarray:
    """What the graph tells as it lies in the file."""
    frames = samples.reshape(-1, FRAME)
    tails = np.vstack((np.zeros(64, np.float32), frames[:-1, -64:]))
    state = np.zeros((1, 1, 128), np.float32)
    told = open_session(PUBLISHED, threads=1).run(None, {"input": np.hstack((tails, frames)), "h": state, "c": state})
    return np.asarray(told[0]).reshape(-1)


@pytest.mark.parametrize("kind", SOUNDS)
def test_it_tells_what_the_published_one_tells(detector: Detector, kind: str):
    assert network.rewrite(PUBLISHED.read_bytes())
    np.testing.assert_allclose(detector.stream().feed(SOUNDS[kind]), published(SOUNDS[kind]), atol=2e-5)


def test_it_is_a_valid_graph():
    rewritten = network.rewrite(PUBLISHED.read_bytes())
    assert rewritten
    onnx.checker.check_model(onnx.load_from_string(rewritten), full_check=True)


@pytest.mark.parametrize("name", ["decoder.conv1d.bias", "encoder.feature_extractor.forward_basis_buffer"])
def test_another_network_runs_as_it_is_published(tmp_path: Path, name: str):
    model = onnx.load(PUBLISHED)
    weights = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    if name.endswith("bias"):
        weights.name = "another"
        for node in model.graph.node:
            node.input[:] = ["another" if given == name else given for given in node.input]
    else:
        weights.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights) * np.float32(0.99), name))
    onnx.save(model, tmp_path / "other.onnx")
    assert network.rewrite((tmp_path / "other.onnx").read_bytes()) is None
    heard = silero.load(tmp_path, EngineArgs()).stream().feed(CLIP)
    np.testing.assert_allclose(heard, published(CLIP), atol=0.1 if name.endswith("buffer") else 1e-6)


def test_weights_are_read_as_the_format_s_own_package_reads_them():
    expected = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in onnx.load(PUBLISHED).graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT
    }
    read = read_weights(PUBLISHED.read_bytes())
    assert read.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(read[name], values)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 3000))
def test_what_is_damaged_is_not_rewritten(damage: bytes, place: int):
    data = PUBLISHED.read_bytes()
    assert network.rewrite(damage) is None
    assert network.rewrite(data[:place] + damage + data[place + len(damage) : place + 5000]) is None
