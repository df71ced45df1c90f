"""The converted encoder does what torch's LSTM did; a checkpoint's pickles can build tensors and nothing else."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnxruntime
import pytest

from tools.voice_encoder import BANDS, HIDDEN, LAYERS, convert, read_checkpoint

RANDOM = np.random.default_rng(7)


def tensor(*shape: int) -> np.ndarray:
    return RANDOM.normal(0, 0.05, shape).astype(np.float32)


def weights() -> dict[str, np.ndarray]:
    made = {"similarity_weight": tensor(1), "linear.weight": tensor(HIDDEN, HIDDEN), "linear.bias": tensor(HIDDEN)}
    for layer in range(LAYERS):
        made[f"lstm.weight_ih_l{layer}"] = tensor(4 * HIDDEN, HIDDEN if layer else BANDS)
        made[f"lstm.weight_hh_l{layer}"] = tensor(4 * HIDDEN, HIDDEN)
        made[f"lstm.bias_ih_l{layer}"] = tensor(4 * HIDDEN)
        made[f"lstm.bias_hh_l{layer}"] = tensor(4 * HIDDEN)
    return made


class Storage:
    def __init__(self, key: str, count: int) -> None:
        self.pid = ("storage", FloatStorage, key, "cpu", count, None)


class FloatStorage:
    __module__, __qualname__ = "torch", "FloatStorage"


class Rebuilt:
    """Pickles as torch does a tensor."""

    def __init__(self, key: str, array: np.ndarray) -> None:
        self.key, self.array = key, array

    def __reduce__(self) -> object:
        strides = tuple(step // self.array.itemsize for step in self.array.strides)
        return rebuild, (Storage(self.key, self.array.size), 0, self.array.shape, strides, False, None)


def rebuild(*_: object) -> None:
    raise AssertionError("only its name is pickled")


rebuild.__module__, rebuild.__qualname__ = "torch._utils", "_rebuild_tensor_v2"


class Pickler(pickle._Pickler):  # type: ignore[name-defined, misc]  # the one in Python, which can name what is not there
    def persistent_id(self, found: object) -> object:
        return found.pid if isinstance(found, Storage) else None

    def save_global(self, found: object, name: str | None = None) -> None:
        if found in (rebuild, FloatStorage):
            module, own = found.__module__, found.__qualname__  # type: ignore[attr-defined]
            self.write(b"c" + f"{module}\n{own}\n".encode())
            self.memoize(found)
        else:
            super().save_global(found, name)

    dispatch: ClassVar = {**pickle._Pickler.dispatch, type: save_global, type(rebuild): save_global}  # type: ignore[attr-defined]


def checkpoint(made: dict[str, np.ndarray]) -> bytes:
    file = io.BytesIO()
    state = {"model_state": {name: Rebuilt(str(number), array) for number, (name, array) in enumerate(made.items())}}
    for part in (119547037146038801333356, 1001, {"little_endian": True}, state, [str(n) for n in range(len(made))]):
        Pickler(file, 2).dump(part)
    for array in made.values():
        file.write(array.size.to_bytes(8, "little") + array.tobytes())
    return file.getvalue()


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def as_torch(made: dict[str, np.ndarray], mels: np.ndarray) -> np.ndarray:
    """Hochreiter's cell as torch.nn.LSTM documents it: gates i, f, g, o."""
    for layer in range(LAYERS):
        wi, wh = made[f"lstm.weight_ih_l{layer}"], made[f"lstm.weight_hh_l{layer}"]
        bias = made[f"lstm.bias_ih_l{layer}"] + made[f"lstm.bias_hh_l{layer}"]
        hidden = cell = np.zeros((len(mels), HIDDEN))
        outputs = []
        for step in range(mels.shape[1]):
            i, f, g, o = np.split(mels[:, step] @ wi.T + hidden @ wh.T + bias, 4, axis=1)
            cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
            hidden = sigmoid(o) * np.tanh(cell)
            outputs.append(hidden)
        mels = np.stack(outputs, axis=1)
    raw = np.maximum(hidden @ made["linear.weight"].T + made["linear.bias"], 0)
    return raw / np.linalg.norm(raw, axis=1, keepdims=True)


def test_it_gives_what_torch_gave(tmp_path: Path):
    made, mels = weights(), RANDOM.random((3, 40, BANDS)).astype(np.float32)
    convert(checkpoint(made), tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"mels": mels})
    np.testing.assert_allclose(found, as_torch(made, mels), atol=1e-5)


class Evil:
    def __reduce__(self) -> object:
        return print, ("run",)


@pytest.mark.parametrize(
    "content",
    [b"", b"no pickle", pickle.dumps(1), b"".join(pickle.dumps(part) for part in (1, 2, 3, Evil(), []))],
    ids=["empty", "text", "one pickle", "code"],
)
def test_anything_else_is_refused(content: bytes, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(ValueError, match="not a checkpoint"):
        read_checkpoint(content)
    assert not capsys.readouterr().out


def test_a_checkpoint_that_was_cut_off_is_refused():
    whole = checkpoint(weights())
    for length in (len(whole) // 100, len(whole) // 2, len(whole) - 4):
        with pytest.raises(ValueError, match=r"checkpoint|reshape|multiple"):
            read_checkpoint(whole[:length])
