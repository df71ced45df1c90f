"""The converted CAM++ does what 3D-Speaker's does, worked out here layer by layer with weights of its shapes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from tools.campplus import BANDS, BLOCKS, SIZE, convert

RANDOM = np.random.default_rng(11)
GROWTH, CHANNELS, NARROW = 32, 128, 64
Made = dict[str, np.ndarray]


def tensor(*shape: int) -> np.ndarray:
    return RANDOM.normal(0, 1 / np.sqrt(np.prod(shape[1:])), shape).astype(np.float32)


def batch_norm(name: str, size: int, *, affine: bool = True) -> Made:
    made = {"running_mean": tensor(size, 9), "running_var": 0.5 + tensor(size, 9) ** 2}
    if affine:
        made |= {"weight": 1 + tensor(size, 9), "bias": tensor(size, 9)}
    return {f"{name}.{key}": value.mean(axis=1) for key, value in made.items()}


def weights() -> Made:
    made = {"head.conv1.weight": tensor(32, 1, 3, 3), "head.conv2.weight": tensor(32, 32, 3, 3)}
    made |= batch_norm("head.bn1", 32) | batch_norm("head.bn2", 32)
    for block in ("1.0", "1.1", "2.0", "2.1"):
        for number in (1, 2):
            made[f"head.layer{block}.conv{number}.weight"] = tensor(32, 32, 3, 3)
            made |= batch_norm(f"head.layer{block}.bn{number}", 32)
        if block.endswith("0"):
            made[f"head.layer{block}.shortcut.0.weight"] = tensor(32, 32, 1, 1)
            made |= batch_norm(f"head.layer{block}.shortcut.1", 32)
    made["xvector.tdnn.linear.weight"] = tensor(CHANNELS, 320, 5)
    made |= batch_norm("xvector.tdnn.nonlinear.batchnorm", CHANNELS)
    channels = CHANNELS
    for number, (layers, _) in enumerate(BLOCKS, 1):
        for layer in range(1, layers + 1):
            name = f"xvector.block{number}.tdnnd{layer}"
            made |= batch_norm(f"{name}.nonlinear1.batchnorm", channels)
            made |= batch_norm(f"{name}.nonlinear2.batchnorm", CHANNELS)
            made[f"{name}.linear1.weight"] = tensor(CHANNELS, channels, 1)
            made[f"{name}.cam_layer.linear_local.weight"] = tensor(GROWTH, CHANNELS, 3)
            for part, shape in (("linear1", (NARROW, CHANNELS, 1)), ("linear2", (GROWTH, NARROW, 1))):
                made[f"{name}.cam_layer.{part}.weight"] = tensor(*shape)
                made[f"{name}.cam_layer.{part}.bias"] = tensor(shape[0], 4)[:, 0]
            channels += GROWTH
        made |= batch_norm(f"xvector.transit{number}.nonlinear.batchnorm", channels)
        made[f"xvector.transit{number}.linear.weight"] = tensor(channels // 2, channels, 1)
        channels //= 2
    made |= batch_norm("xvector.out_nonlinear.batchnorm", channels)
    made["xvector.dense.linear.weight"] = tensor(SIZE, 2 * channels, 1)
    return made | batch_norm("xvector.dense.nonlinear.batchnorm", SIZE, affine=False)


class Torch:
    """One window, (channels, ..., frames)."""

    def __init__(self, made: Made) -> None:
        self.made = made

    def norm(self, x: np.ndarray, name: str) -> np.ndarray:
        wide = (-1,) + (1,) * (x.ndim - 1)
        parts = {part: self.made.get(f"{name}.{part}") for part in ("running_mean", "running_var", "weight", "bias")}
        mean, var, scale, shift = (None if each is None else each.reshape(wide) for each in parts.values())
        normal = (x - mean) / np.sqrt(var + 1e-5)
        return normal if scale is None else normal * scale + shift

    def conv(self, x: np.ndarray, name: str, stride: int | tuple[int, int] = 1, dilation: int = 1) -> np.ndarray:
        kernel = self.made[f"{name}.weight"]
        axes = tuple(range(1, x.ndim))
        reach = [(size - 1) * dilation for size in kernel.shape[2:]]
        padded = np.pad(x, [(0, 0), *((each // 2, each // 2) for each in reach)])
        views = np.lib.stride_tricks.sliding_window_view(padded, [each + 1 for each in reach], axis=axes)
        strides = (stride,) * len(axes) if isinstance(stride, int) else stride
        views = views[(slice(None), *(slice(None, None, each) for each in strides))]
        views = views[(..., *(slice(None, None, dilation) for _ in axes))]
        out = np.tensordot(kernel, views, axes=([1, *range(2, kernel.ndim)], [0, *range(x.ndim, 2 * x.ndim - 1)]))
        bias = self.made.get(f"{name}.bias")
        return out if bias is None else out + bias.reshape((-1,) + (1,) * (out.ndim - 1))

    def __call__(self, feats: np.ndarray) -> np.ndarray:
        x = relu(self.norm(self.conv(feats.T[None], "head.conv1"), "head.bn1"))
        for block in ("1.0", "1.1", "2.0", "2.1"):
            name, stride = f"head.layer{block}", (2 if block.endswith("0") else 1, 1)
            y = relu(self.norm(self.conv(x, f"{name}.conv1", stride), f"{name}.bn1"))
            y = self.norm(self.conv(y, f"{name}.conv2"), f"{name}.bn2")
            if stride[0] == 2:
                x = self.norm(self.conv(x, f"{name}.shortcut.0", stride), f"{name}.shortcut.1")
            x = relu(x + y)
        x = relu(self.norm(self.conv(x, "head.conv2", (2, 1)), "head.bn2")).reshape(320, -1)
        x = relu(self.norm(self.conv(x, "xvector.tdnn.linear", 2), "xvector.tdnn.nonlinear.batchnorm"))
        for number, (layers, dilation) in enumerate(BLOCKS, 1):
            for layer in range(1, layers + 1):
                x = np.concatenate((x, self.dense(x, f"xvector.block{number}.tdnnd{layer}", dilation)))
            x = relu(self.norm(x, f"xvector.transit{number}.nonlinear.batchnorm"))
            x = self.conv(x, f"xvector.transit{number}.linear")
        x = relu(self.norm(x, "xvector.out_nonlinear.batchnorm"))
        x = np.concatenate((x.mean(axis=1), x.std(axis=1, ddof=1)))[:, None]
        return self.norm(self.conv(x, "xvector.dense.linear"), "xvector.dense.nonlinear.batchnorm")[:, 0]

    def dense(self, x: np.ndarray, name: str, dilation: int) -> np.ndarray:
        x = relu(self.norm(x, f"{name}.nonlinear1.batchnorm"))
        x = relu(self.norm(self.conv(x, f"{name}.linear1"), f"{name}.nonlinear2.batchnorm"))
        seconds = [x[:, at : at + 100].mean(axis=1, keepdims=True) for at in range(0, x.shape[1], 100)]
        context = (
            x.mean(axis=1, keepdims=True) + np.repeat(np.concatenate(seconds, axis=1), 100, axis=1)[:, : x.shape[1]]
        )
        mask = self.conv(relu(self.conv(context, f"{name}.cam_layer.linear1")), f"{name}.cam_layer.linear2")
        return self.conv(x, f"{name}.cam_layer.linear_local", dilation=dilation) / (1 + np.exp(-mask))


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


@pytest.mark.parametrize("frames", [23, 148, 200])
def test_it_gives_what_torch_gave(tmp_path: Path, frames: int):
    made, feats = weights(), RANDOM.normal(size=(2, frames, BANDS)).astype(np.float32)
    convert(made, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"feats": feats})
    expected = np.stack([Torch(made)(each) for each in feats])
    np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max())


def test_other_weights_are_refused(tmp_path: Path):
    made = weights()
    del made["xvector.block2.tdnnd24.linear1.weight"]
    with pytest.raises(KeyError, match="tdnnd24"):
        convert(made, tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()
