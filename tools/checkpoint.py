"""The weights in a file of torch's, without torch. Its pickle may build tensors and nothing else."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_TYPES = {"FloatStorage": "<f4", "LongStorage": "<i8"}

Weights = Mapping[str, NDArray[np.float32]]


def read_checkpoint(content: bytes) -> Weights:
    """Raises ValueError for anything but a checkpoint."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            (pickled,) = (name for name in file.namelist() if name.endswith("/data.pkl"))
            state = _Unpickler(io.BytesIO(file.read(pickled))).load()
            tensors = {name: found for name, found in state.items() if isinstance(found, _Tensor)}
            folder = pickled.removesuffix(".pkl")
            return {name: tensor.of(file.read(f"{folder}/{tensor.key}")) for name, tensor in tensors.items()}
    except (pickle.UnpicklingError, zipfile.BadZipFile, EOFError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"not a checkpoint of torch's: {error}") from error


@dataclass(frozen=True, slots=True)
class _Tensor:
    kind: str  # of its numbers
    key: str
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def of(self, storage: bytes) -> NDArray[np.float32]:
        if self.stride != tuple(int(np.prod(self.shape[at + 1 :])) for at in range(len(self.shape))):
            raise ValueError("a tensor that is not laid out row by row")
        count = int(np.prod(self.shape))
        return np.frombuffer(storage, _TYPES[self.kind])[self.offset : self.offset + count].reshape(self.shape)


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, stride, *_: _Tensor(storage[0], storage[1], offset, shape, stride)
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch" and name in _TYPES:
            return name
        raise pickle.UnpicklingError(f"{module}.{name} has no place in weights")

    def persistent_load(self, pid: tuple[str, str, str, str, int, Any]) -> tuple[str, str]:
        return pid[1], pid[2]
