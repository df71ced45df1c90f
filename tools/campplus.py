"""CAM++ as 3D-Speaker has it, an ONNX model (Wang et al. 2023, https://arxiv.org/abs/2303.00332).

Two-dimensional convolutions over filter banks, then layers that each see all before them (D-TDNN), every one masked by
what the window is like as a whole; mean and deviation over time, one linear layer. Batch normalisation is folded into
the convolutions it follows. The weights are Alibaba's, Apache-2.0.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tools.checkpoint import Weights
from tools.onnx_graph import Graph

BANDS, SIZE = 80, 192
BLOCKS = ((12, 1), (24, 2), (16, 2))  # layers, dilation
_EPSILON = 1e-5


def convert(weights: Weights, into: Path) -> None:
    """Inputs `feats` (n, frames, 80), output `embs` (n, 192), for windows of up to 2 s: of longer ones the network
    would also want the means of parts. Raises KeyError where weights are missing."""
    net = _Network(weights)
    x = net.head(net.node("Transpose", "feats", perm=[0, 2, 1]))
    x = net.relu(net.convolved(x, "xvector.tdnn.linear", "xvector.tdnn.nonlinear.batchnorm", pads=[2, 2], strides=[2]))
    for number, (layers, dilation) in enumerate(BLOCKS, 1):
        for layer in range(1, layers + 1):
            seen = net.masked(x, f"xvector.block{number}.tdnnd{layer}", dilation)
            x = net.node("Concat", x, seen, axis=1)
        transit = f"xvector.transit{number}"
        x = net.convolved(net.normal(x, f"{transit}.nonlinear.batchnorm"), f"{transit}.linear")
    x = net.statistics(net.normal(x, "xvector.out_nonlinear.batchnorm"))
    x = net.convolved(x, "xvector.dense.linear", "xvector.dense.nonlinear.batchnorm")
    net.node("Squeeze", x, net.constant([2]), give="embs")
    net.save(into, "campplus", ("feats", ["windows", "frames", BANDS]), ("embs", ["windows", SIZE]))


class _Network(Graph):
    def __init__(self, weights: Weights) -> None:
        super().__init__()
        self._weights = weights

    def relu(self, x: str) -> str:
        return self.node("Relu", x)

    def convolved(self, x: str, name: str, batch_norm: str = "", scale: float = 1.0, **attributes: Any) -> str:
        weight, bias = self._weights[f"{name}.weight"] * scale, self._weights.get(f"{name}.bias")
        if batch_norm:
            factor, offset = self._affine(batch_norm)
            weight = weight * factor.reshape(-1, *[1] * (weight.ndim - 1))
            bias = offset if bias is None else bias * factor + offset
        constants = [self.constant(array) for array in (weight, bias) if array is not None]
        return self.node("Conv", x, *constants, **attributes)

    def normal(self, x: str, name: str) -> str:
        factor, offset = (self.constant(array[:, None]) for array in self._affine(name))
        return self.relu(self.node("Add", self.node("Mul", x, factor), offset))

    def _affine(self, batch_norm: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """What it multiplies by and then adds."""
        mean, variance = (self._weights[f"{batch_norm}.running_{name}"] for name in ("mean", "var"))
        factor = self._weights.get(f"{batch_norm}.weight", np.float32(1)) / np.sqrt(variance + _EPSILON)
        return factor, self._weights.get(f"{batch_norm}.bias", np.float32(0)) - mean * factor

    def head(self, x: str) -> str:
        """(n, bands, frames) -> (n, channels, frames)."""
        x = self.node("Unsqueeze", x, self.constant([1]))
        x = self.relu(self.convolved(x, "head.conv1", "head.bn1", pads=[1] * 4))
        for name, stride in (("1.0", 2), ("1.1", 1), ("2.0", 2), ("2.1", 1)):
            block = f"head.layer{name}"
            y = self.relu(self.convolved(x, f"{block}.conv1", f"{block}.bn1", pads=[1] * 4, strides=[stride, 1]))
            y = self.convolved(y, f"{block}.conv2", f"{block}.bn2", pads=[1] * 4)
            if stride > 1:
                x = self.convolved(x, f"{block}.shortcut.0", f"{block}.shortcut.1", strides=[stride, 1])
            x = self.relu(self.node("Add", y, x))
        x = self.relu(self.convolved(x, "head.conv2", "head.bn2", pads=[1] * 4, strides=[2, 1]))
        channels = len(self._weights["head.conv2.weight"]) * BANDS // 8
        return self.node("Reshape", x, self.constant([0, channels, -1]))

    def masked(self, x: str, name: str, dilation: int) -> str:
        x = self.normal(x, f"{name}.nonlinear1.batchnorm")
        x = self.relu(self.convolved(x, f"{name}.linear1", f"{name}.nonlinear2.batchnorm"))
        # The context is the mean of the window plus that of its second; windows are shorter than two of these.
        context = self.convolved(self.node("GlobalAveragePool", x), f"{name}.cam_layer.linear1", scale=2.0)
        mask = self.node("Sigmoid", self.convolved(self.relu(context), f"{name}.cam_layer.linear2"))
        local = self.convolved(x, f"{name}.cam_layer.linear_local", dilations=[dilation], pads=[dilation] * 2)
        return self.node("Mul", local, mask)

    def statistics(self, x: str) -> str:
        """(n, channels, frames) -> (n, 2 * channels, 1): mean, and the deviation of a sample."""
        mean = self.node("ReduceMean", x, axes=[2])
        squares = self.node("ReduceSumSquare", self.node("Sub", x, mean), axes=[2])
        count = self.node("Cast", self.node("Shape", x, start=2, end=3), to=1)
        variance = self.node("Div", squares, self.node("Sub", count, self.constant(np.ones(1))))
        return self.node("Concat", mean, self.node("Sqrt", variance), axis=1)
