"""ONNX models, written node by node."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_OPSET, _IR = 17, 8  # what every ONNX Runtime since 1.12 opens


class Graph:
    """`node` and `constant` return the name of what they make."""

    def __init__(self) -> None:
        from onnx import NodeProto, TensorProto

        self._nodes: list[NodeProto] = []
        self._constants: list[TensorProto] = []

    def node(self, operator: str, *inputs: str, give: str | None = None, **attributes: Any) -> str:
        """`give`: its name, where it is the model's output."""
        from onnx import helper

        name = give or f"n{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    def constant(self, value: NDArray[Any] | Sequence[int]) -> str:
        from onnx import numpy_helper

        name = f"c{len(self._constants)}"
        array = value.astype(np.float32) if isinstance(value, np.ndarray) else np.array(value, np.int64)
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def save(self, path: Path, name: str, takes: tuple[str, list[Any]], gives: tuple[str, list[Any]]) -> None:
        """`takes`, `gives`: names and shapes; floats."""
        from onnx import TensorProto, checker, helper

        inputs, outputs = (
            [helper.make_tensor_value_info(key, TensorProto.FLOAT, shape)] for key, shape in (takes, gives)
        )
        graph = helper.make_graph(self._nodes, name, inputs, outputs, self._constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
        checker.check_model(model)
        path.write_bytes(model.SerializeToString(deterministic=True))
