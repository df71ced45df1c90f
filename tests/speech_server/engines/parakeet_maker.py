"""Makes a Parakeet small enough to run in a test: the files, names and shapes of the real ones, and ears for tones.

Each tone of TONES is a word of two tokens, the second of which only follows the first: what the decoder is told of
the token before matters. After every second word, in the hush, a sentence ends: it counts in its LSTM states.
The same word twice in a row is heard once.

The frames are the real ones of 80 ms, the features those of the library, and each token's duration is predicted.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import quantize_dynamic

from speech_server.domain import RATE, Samples

TONES = {500: ("▁al", "pha"), 1500: ("▁be", "ta"), 4000: ("▁gam", "ma")}  # Hz, tokens
WORDS = {hertz: "".join(tokens).replace("▁", " ") for hertz, tokens in TONES.items()}
SECONDS = 0.5  # of a tone, and of the hush around it
BANDS, FRAME, STATE, DURATIONS = 128, 8, 640, 5
MANY, FEW = 8_193, 1_025  # tokens of v3 and of v2
_BANDS = (20, 59, 99)  # in which of the 128 mel bands each tone is loudest


def tones(*hertz: int, seconds: float = SECONDS) -> Samples:
    """One after the other, with hush before, between and after."""
    noise = np.random.default_rng(7)
    hush = np.zeros(round(seconds * RATE), np.float32)
    parts = [hush]
    for pitch in hertz:
        parts += [0.3 * np.sin(2 * np.pi * pitch * np.arange(round(seconds * RATE)) / RATE), hush]
    sound = np.concatenate(parts)
    return (sound + noise.normal(0, 1e-3, len(sound))).astype(np.float32)


def make_parakeet(folder: Path, tokens: int = MANY, *, int8: bool = True, float32: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = _vocabulary(tokens)
    lines = [f"{token} {number}" for number, token in enumerate(vocabulary)]
    (folder / "vocab.txt").write_text("\n".join(lines) + "\n", "utf-8")
    config = {"model_type": "nemo-conformer-tdt", "features_size": BANDS, "subsampling_factor": FRAME}
    (folder / "config.json").write_text(json.dumps(config))
    models = {"encoder-model": _encoder(), "decoder_joint-model": _decoder_joint(vocabulary)}
    for name, model in models.items():
        path = folder / f"{name}.onnx"
        onnx.save(model, path)
        if int8:
            quantize_dynamic(path, folder / f"{name}.int8.onnx")
        if not float32:
            path.unlink()
        elif name == "encoder-model":  # as the real one, too large for one file
            onnx.save(model, path, save_as_external_data=True, location=f"{name}.onnx.data", size_threshold=0)
    return folder


def _vocabulary(count: int) -> list[str]:
    known = ["<unk>", ".", *(token for word in TONES.values() for token in word)]
    return [*known, *(f"▁{number}" for number in range(count - len(known) - 1)), "<blk>"]


def _encoder() -> onnx.ModelProto:
    """(batch, 128, frames of 10 ms) -> (batch, tones, frames of 80 ms): 1 where a tone sounds, else 0."""
    listen = np.zeros((len(TONES), BANDS), np.float32)
    for place, band in enumerate(_BANDS):
        listen[place, band - 1 : band + 2] = 1 / 3
    nodes = [
        helper.make_node("AveragePool", ["audio_signal"], ["pooled"], kernel_shape=[24], strides=[FRAME], pads=[8, 23]),
        helper.make_node("MatMul", ["listen", "pooled"], ["loudness"]),
        helper.make_node("Greater", ["loudness", "threshold"], ["sounds"]),
        helper.make_node("Cast", ["sounds"], ["outputs"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["length", "seven"], ["rounded"]),
        helper.make_node("Div", ["rounded", "eight"], ["encoded_lengths"]),
    ]
    inputs = [
        _info("audio_signal", TensorProto.FLOAT, "batch", BANDS, "time"),
        _info("length", TensorProto.INT64, "batch"),
    ]
    outputs = [
        _info("outputs", TensorProto.FLOAT, "batch", len(TONES), "frames"),
        _info("encoded_lengths", TensorProto.INT64, "batch"),
    ]
    constants = {"listen": listen, "threshold": np.float32(0.8), "seven": np.int64(7), "eight": np.int64(FRAME)}
    return _model("encoder", nodes, inputs, outputs, constants)


def _decoder_joint(vocabulary: list[str]) -> onnx.ModelProto:
    """A frame and the token before -> how likely each token comes next, and how many frames it lasts.

    The first number of states_1 goes up by one with each token; states_2 passes through.
    """
    count = len(vocabulary)
    words = [tuple(vocabulary.index(token) for token in word) for word in TONES.values()]
    stop = vocabulary.index(".")
    kinds = np.zeros(count, np.int64)  # of tokens before: 0 for what changes nothing
    hear = np.zeros((len(words), count + DURATIONS), np.float32)  # by what sounds
    after = np.full((1 + 2 * len(words), count + DURATIONS), -5, np.float32)  # by the kind of the token before
    after[:, count - 1] = 0  # blank, unless something speaks for a token
    after[:, count + 1] = 0  # and one frame on
    for place, (first, second) in enumerate(words):
        kinds[first], kinds[second] = 1 + place, 1 + len(words) + place
        hear[place, first] = 10
        hear[place, stop] = -20
        hear[place, count + 2] = 10  # the second token two frames after the first
        after[1 + place, [first, second, count + 4]] = -100, 20, 20
        after[1 + len(words) + place, [first, count + 2]] = -100  # still the same tone
    sentence = np.zeros(count + DURATIONS, np.float32)
    sentence[stop] = 15
    return _joint_model(hear, after, kinds, sentence)


def _joint_model(
    hear: NDArray[np.float32], after: NDArray[np.float32], kinds: NDArray[np.int64], sentence: NDArray[np.float32]
) -> onnx.ModelProto:
    state = (2, 1, STATE)
    steps = [
        ("Reshape", ["encoder_outputs", "row"], "frame"),
        ("MatMul", ["frame", "hear"], "heard"),
        ("Gather", ["kinds", "targets"], "kind"),
        ("Gather", ["after", "kind"], "expected"),
        ("Gather", ["input_states_1", "zero"], "layer"),
        ("ReduceMax", ["layer"], "said"),
        ("Mod", ["said", "five"], "in_sentence"),
        ("Equal", ["in_sentence", "four"], "is_over"),
        ("Cast", ["is_over"], "over"),
        ("Mul", ["over", "sentence"], "ending"),
        ("Add", ["heard", "expected"], "likely"),
        ("Add", ["likely", "ending"], "all"),
        ("Reshape", ["all", "joint"], "outputs"),
        ("Identity", ["target_length"], "prednet_lengths"),
        ("Add", ["input_states_1", "one"], "output_states_1"),
        ("Identity", ["input_states_2"], "output_states_2"),
    ]
    how = {"Mod": {"fmod": 1}, "Cast": {"to": TensorProto.FLOAT}, "ReduceMax": {"keepdims": 0}}
    nodes = [helper.make_node(kind, given, [made], **how.get(kind, {})) for kind, given, made in steps]
    inputs = [
        _info("encoder_outputs", TensorProto.FLOAT, 1, len(hear), 1),
        _info("targets", TensorProto.INT32, 1, 1),
        _info("target_length", TensorProto.INT32, 1),
        _info("input_states_1", TensorProto.FLOAT, *state),
        _info("input_states_2", TensorProto.FLOAT, *state),
    ]
    outputs = [
        _info("outputs", TensorProto.FLOAT, 1, 1, 1, hear.shape[1]),
        _info("prednet_lengths", TensorProto.INT32, 1),
        _info("output_states_1", TensorProto.FLOAT, *state),
        _info("output_states_2", TensorProto.FLOAT, *state),
    ]
    constants = {
        "hear": hear, "after": after, "kinds": kinds, "sentence": sentence, "zero": np.int64(0), "one": np.float32(1),
        "four": np.float32(4), "five": np.float32(5), "row": np.array([1, -1]), "joint": np.array([1, 1, 1, -1]),
    }  # fmt: skip
    return _model("decoder_joint", nodes, inputs, outputs, constants)


def _info(name: str, kind: int, *shape: str | int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def _model(
    name: str,
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    constants: dict[str, Any],
) -> onnx.ModelProto:
    values = [numpy_helper.from_array(np.asarray(value), constant) for constant, value in constants.items()]
    graph = helper.make_graph(nodes, name, inputs, outputs, values)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model
