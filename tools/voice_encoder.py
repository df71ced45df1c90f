"""Resemblyzer's GE2E voice encoder, as torch wrote it -> an ONNX model, without torch.

Three LSTM layers over mel frames, the last state through a linear layer, made positive and of length 1 (Wan et al.,
"Generalized end-to-end loss for speaker verification", 2018; the weights are Resemble AI's, Apache-2.0).
"""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

LAYERS = 3
HIDDEN = 256
BANDS = 40
_OPSET, _IR = 17, 8  # what every ONNX Runtime since 1.12 opens

Weights = Mapping[str, NDArray[np.float32]]


def convert(checkpoint: bytes, into: Path) -> None:
    """Inputs `mels` (n, frames, 40), output `embedding` (n, 256). Raises ValueError for any other checkpoint."""
    import onnx

    model = encoder(read_checkpoint(checkpoint))
    onnx.checker.check_model(model)
    into.write_bytes(model.SerializeToString(deterministic=True))


def encoder(weights: Weights) -> ModelProto:
    from onnx import TensorProto, helper, numpy_helper

    constants = {"first": np.array([0]), "second": np.array([1])}
    nodes: list[NodeProto] = [helper.make_node("Transpose", ["mels"], ["input0"], perm=[1, 0, 2])]
    for layer in range(LAYERS):
        names = [f"weights{layer}", f"recurrent{layer}", f"bias{layer}"]
        constants |= dict(zip(names, _layer(weights, layer), strict=True))
        outputs = [f"output{layer}", f"state{layer}"]
        nodes.append(helper.make_node("LSTM", [f"input{layer}", *names], outputs, hidden_size=HIDDEN))
        nodes.append(helper.make_node("Squeeze", [outputs[0], "second"], [f"input{layer + 1}"]))
    nodes.pop()
    constants |= {"matrix": weights["linear.weight"], "offset": weights["linear.bias"]}
    nodes += [
        helper.make_node("Squeeze", [f"state{LAYERS - 1}", "first"], ["last"]),
        helper.make_node("Gemm", ["last", "matrix", "offset"], ["raw"], transB=1),
        helper.make_node("Relu", ["raw"], ["positive"]),
        helper.make_node("LpNormalization", ["positive"], ["embedding"], axis=1, p=2),
    ]
    graph = helper.make_graph(
        nodes,
        "ge2e",
        [helper.make_tensor_value_info("mels", TensorProto.FLOAT, ["windows", "frames", BANDS])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["windows", HIDDEN])],
        [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)


def _layer(weights: Weights, layer: int) -> list[NDArray[np.float32]]:
    """torch has the gates in the order i f g o, ONNX in i o f c."""

    def gates(name: str) -> NDArray[np.float32]:
        i, f, g, o = np.split(weights[f"lstm.{name}_l{layer}"], 4)
        return np.concatenate((i, o, f, g))

    bias = np.concatenate((gates("bias_ih"), gates("bias_hh")))
    return [gates("weight_ih")[None], gates("weight_hh")[None], bias[None]]


# --- torch's old format: pickles, then the numbers of every storage ---


@dataclass(frozen=True, slots=True)
class _Tensor:
    storage: str
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def read_checkpoint(content: bytes) -> dict[str, NDArray[np.float32]]:
    """The `model_state` of a checkpoint. Its pickles may build tensors and nothing else."""
    file = io.BytesIO(content)
    try:
        for _ in range(3):  # a magic number, the version, sizes of types
            _Unpickler(file).load()
        state = _Unpickler(file).load()["model_state"]
        storages = {key: _numbers(file) for key in _Unpickler(file).load()}
        return {name: _array(tensor, storages) for name, tensor in state.items()}
    except (pickle.UnpicklingError, EOFError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(f"not a checkpoint of torch's old format: {error}") from error


def _array(tensor: _Tensor, storages: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    if tensor.stride != tuple(int(np.prod(tensor.shape[at + 1 :])) for at in range(len(tensor.shape))):
        raise ValueError("a tensor that is not laid out row by row")
    count = int(np.prod(tensor.shape))
    return storages[tensor.storage][tensor.offset : tensor.offset + count].reshape(tensor.shape)


def _numbers(file: IO[bytes]) -> NDArray[np.float32]:
    count = int.from_bytes(file.read(8), "little")
    return np.frombuffer(file.read(4 * count), "<f4")


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, stride, *_: _Tensor(storage, offset, shape, stride)
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch", "FloatStorage"):
            return name
        raise pickle.UnpicklingError(f"{module}.{name} has no place in weights")

    def persistent_load(self, pid: tuple[str, str, str, str, int, Any]) -> str:
        return pid[2]
