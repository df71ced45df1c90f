"""A checkpoint's weights are read without torch; its pickle can build tensors and nothing else."""

from __future__ import annotations

import io
import pickle
import zipfile
from typing import ClassVar

import numpy as np
import pytest

from tools.checkpoint import read_checkpoint

RANDOM = np.random.default_rng(7)
STATE = {"linear.weight": RANDOM.normal(size=(3, 4)).astype(np.float32), "linear.bias": np.ones(3, np.float32)}


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


def checkpoint(state: object, storages: list[bytes]) -> bytes:
    pickled, file = io.BytesIO(), io.BytesIO()
    Pickler(pickled, 2).dump(state)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickled.getvalue())
        for number, storage in enumerate(storages):
            archive.writestr(f"archive/data/{number}", storage)
    return file.getvalue()


def of(state: dict[str, np.ndarray]) -> bytes:
    pickled = {name: Rebuilt(str(number), array) for number, (name, array) in enumerate(state.items())}
    return checkpoint(pickled, [array.tobytes() for array in state.values()])


def test_weights_come_back_as_they_were():
    found = read_checkpoint(of(STATE))
    assert found.keys() == STATE.keys()
    for name, array in STATE.items():
        np.testing.assert_array_equal(found[name], array)


class Evil:
    def __reduce__(self) -> object:
        return print, ("run",)


@pytest.mark.parametrize(
    "content",
    [b"", b"no archive", pickle.dumps(1), checkpoint(1, []), checkpoint(Evil(), []), of(STATE)[:-30], of(STATE)[:200]],
    ids=["empty", "text", "a pickle", "a number", "code", "cut off", "cut off early"],
)
def test_anything_else_is_refused(content: bytes, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(ValueError, match="not a checkpoint"):
        read_checkpoint(content)
    assert not capsys.readouterr().out


@pytest.mark.parametrize(
    ("storages", "reason"),
    [
        ([b"\0" * 8, b""], "reshape"),
        ([STATE["linear.weight"].tobytes()], "not a checkpoint"),
    ],
    ids=["short", "missing"],
)
def test_numbers_that_are_missing_are_an_error(storages: list[bytes], reason: str):
    state = {name: Rebuilt(str(number), array) for number, (name, array) in enumerate(STATE.items())}
    with pytest.raises(ValueError, match=reason):
        read_checkpoint(checkpoint(state, storages))
