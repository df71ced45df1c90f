"""Networks of the published shapes, a few kilobytes each: two tones are two people, both at once is overlap; who has
spoken for long has finished.

The real ones lie on a hub that the tests do not ask. Names and shapes of what goes in and comes out are theirs, and so
are the files of their repositories.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from speech_server.domain import RATE, Samples

LOW, HIGH = 300.0, 2500.0  # Hz
_STRIDE, _FIELD = 270, 991  # samples, of pyannote's frames


def tone(hertz: float, seconds: float, *, seed: int = 0) -> Samples:
    """A voice of a kind: a tone that swells by 30 dB four times a second, in noise; without clicks."""
    at = np.arange(round(seconds * RATE)) / RATE
    noise = np.random.default_rng(seed).normal(0, 0.01, len(at))
    swell = 10 ** (0.75 * np.sin(2 * np.pi * 4 * at) - 0.75) * np.clip(np.minimum(at, at[::-1]) / 0.02, 0, 1)
    return (0.3 * swell * np.sin(2 * np.pi * hertz * at) + noise).astype(np.float32)


def silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * RATE), np.float32)


def conversation(seconds: float, said: Sequence[tuple[float, float, float]]) -> Samples:
    """Hertz, from second to second; also at once. In between it is as silent as a room."""
    sound = np.random.default_rng(1).normal(0, 0.003, round(seconds * RATE)).astype(np.float32)
    for hertz, start, end in said:
        spoken = tone(hertz, end - start)
        sound[round(start * RATE) : round(start * RATE) + len(spoken)] += spoken
    return sound


def wespeaker_folder(folder: Path) -> Path:
    """An embedding is how much the energy in each of 80 bands changes."""
    spread = np.zeros((80, 256), np.float32)
    spread[:, :80] = np.eye(80)
    nodes = [
        helper.make_node("Add", ["feats", "feats"], ["twice"]),
        helper.make_node("Exp", ["twice"], ["squares"]),
        helper.make_node("ReduceMean", ["squares"], ["bands"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["bands", "spread"], ["embs"]),
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "avg_model").write_bytes(b"PyTorch's")
    (folder / "config.yaml").write_text("model: ResNet34\n")
    takes: tuple[str, list[str | int]] = ("feats", ["B", "T", 80])
    gives: tuple[str, list[str | int]] = ("embs", ["B", 256])
    _save(folder / "voxceleb_resnet34_LM.onnx", nodes, takes, gives, {"spread": spread})
    return folder


def pyannote_folder(folder: Path) -> Path:
    """The first of its three people is whoever has the lower tone, the second the higher; it knows no third."""
    at = np.arange(_FIELD) / RATE
    waves = [wave(2 * np.pi * hertz * at) for hertz in (LOW, HIGH) for wave in (np.sin, np.cos)]
    pairs = np.array([[[1], [1], [0], [0]], [[0], [0], [1], [1]]], np.float32)
    # Of the classes nobody, 1, 2, 3, 1+2, 1+3, 2+3 the one is highest that is so, where each person is 0 or 1.
    classes = np.array([[-1, -1], [1, -1], [-1, 1], [-1, -1], [1, 1], [-1, -1], [-1, -1]], np.float32)
    constants = {
        "waves": (np.array(waves, np.float32) / _FIELD)[:, None],
        "pairs": pairs * 1e5,
        "lowest": np.float32(0.0),
        "highest": np.float32(1.0),
        "classes": classes[:, :, None],
        "biases": np.array([1, 0, 0, -1, -1, -1, -1], np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["input_values", "waves"], ["heard"], strides=[_STRIDE]),
        helper.make_node("Mul", ["heard", "heard"], ["squares"]),
        helper.make_node("Conv", ["squares", "pairs"], ["energies"]),
        helper.make_node("Clip", ["energies", "lowest", "highest"], ["people"]),
        helper.make_node("Conv", ["people", "classes", "biases"], ["columns"]),
        helper.make_node("Transpose", ["columns"], ["logits"], perm=[0, 2, 1]),
    ]
    (folder / "onnx").mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text('{"model_type": "pyannote"}')
    settings = {"feature_extractor_type": "PyAnnoteFeatureExtractor", "sampling_rate": RATE, "offset": 990, "step": 270}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    takes: tuple[str, list[str | int]] = ("input_values", ["batch_size", "num_channels", "num_samples"])
    gives: tuple[str, list[str | int]] = ("logits", ["batch_size", "num_frames", 7])
    _save(folder / "onnx" / "model.onnx", nodes, takes, gives, constants)
    return folder


def smart_turn_folder(folder: Path) -> Path:
    """Who began more than four seconds ago has finished, at 0.9; who did not, has not, at 0.1."""
    constants: dict[str, NDArray[Any] | np.float32] = {
        "from": np.array([300], np.int64),
        "to": np.array([400], np.int64),
        "frames": np.array([2], np.int64),
        "loud": np.float32(1.25),  # a quarter of the powers of ten above the quietest, of eight in all
        "yes": np.float32(0.9),
        "no": np.float32(0.1),
        "last": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("Slice", ["input_features", "from", "to", "frames"], ["then"]),
        helper.make_node("ReduceMax", ["then"], ["loudest"], axes=[1, 2], keepdims=0),
        helper.make_node("ReduceMin", ["input_features"], ["quietest"], axes=[1, 2], keepdims=0),
        helper.make_node("Sub", ["loudest", "quietest"], ["level"]),
        helper.make_node("Greater", ["level", "loud"], ["spoke"]),
        helper.make_node("Where", ["spoke", "yes", "no"], ["probability"]),
        helper.make_node("Unsqueeze", ["probability", "last"], ["logits"]),
    ]
    folder.mkdir(parents=True, exist_ok=True)
    for other in ("smart-turn-v3.0.onnx", "smart-turn-v3.2-gpu.onnx"):
        (folder / other).write_bytes(b"another's")
    takes: tuple[str, list[str | int]] = ("input_features", ["s77", 80, 800])
    gives: tuple[str, list[str | int]] = ("logits", ["s77", 1])
    _save(folder / "smart-turn-v3.2-cpu.onnx", nodes, takes, gives, constants)
    return folder


def _save(
    path: Path,
    nodes: list[onnx.NodeProto],
    takes: tuple[str, list[str | int]],
    gives: tuple[str, list[str | int]],
    constants: Mapping[str, NDArray[Any] | np.float32],
) -> None:
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(takes[0], TensorProto.FLOAT, takes[1])],
        [helper.make_tensor_value_info(gives[0], TensorProto.FLOAT, gives[1])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def quantized(file: Path) -> Path:
    """A model as the quantiser leaves it: what comes in becomes int8, and int32 is what its products are."""
    takes = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])
    gives = helper.make_tensor_value_info("y", TensorProto.INT32, [1, 2])
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["small", "scale", "zero"]),
        helper.make_node("MatMulInteger", ["small", "w", "zero"], ["y"]),
    ]
    weights = [numpy_helper.from_array(np.eye(2, dtype=np.uint8), "w")]
    graph = helper.make_graph(nodes, "quantized", [takes], [gives], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), file)
    return file
