"""CTranslate2's model.bin, written in another precision; engines/whisper/weights.py reads it, and says what it is."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

from speech_server.engines.whisper.weights import TYPES, VERSION, Variable, Weights

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Precision = Literal["float32", "float16", "bfloat16", "int8", "int8_float32", "int8_float16"]

_FLOATS = ("float32", "float16", "bfloat16")


def write_weights(weights: Weights, precision: Precision, path: Path) -> None:
    """The same model in another precision; int8 values are those CTranslate2 computes when it loads at int8."""
    with path.open("wb") as file:
        file.write(struct.pack("<I", VERSION))
        _write_text(file, weights.spec)
        file.write(struct.pack("<I", weights.revision))
        counter = file.tell()
        file.write(struct.pack("<I", 0))
        count = 0
        for variable in _converted(weights, precision):
            _write_text(file, variable.name)
            file.write(struct.pack(f"<B{len(variable.shape)}I", len(variable.shape), *variable.shape))
            file.write(struct.pack("<BI", TYPES.index(variable.type), len(variable.data)))
            file.write(variable.data)
            count += 1
        file.write(struct.pack("<I", len(weights.aliases)))
        for alias, name in weights.aliases:
            _write_text(file, alias)
            _write_text(file, name)
        file.seek(counter)
        file.write(struct.pack("<I", count))


def _write_text(file: IO[bytes], text: str) -> None:
    encoded = text.encode() + b"\0"
    file.write(struct.pack("<H", len(encoded)) + encoded)


def _converted(weights: Weights, precision: Precision) -> Iterator[Variable]:
    """One variable after another, a quantised weight followed by its scale."""
    scales = {variable.name: variable for variable in weights.variables if variable.name.endswith("_scale")}
    quantised = precision.startswith("int8")
    rest: dict[str, str] = {"int8": "", "int8_float32": "float32", "int8_float16": "float16"}
    floats = rest.get(precision, precision)  # "" leaves them as they are
    for variable in weights.variables:
        scale = scales.get(variable.name + "_scale")
        if scale is not None and quantised and variable.type == "int8":
            yield variable
            yield scale
        elif scale is not None or (quantised and variable.is_weight and variable.type in _FLOATS):
            values = numbers(variable, scale)
            if quantised and variable.is_weight:
                yield from _quantise(variable, values)
            else:
                yield _as_floats(variable, values, floats or "float32")
        elif variable.name not in scales:
            change = floats and variable.shape and variable.type in _FLOATS and variable.type != floats
            yield _as_floats(variable, numbers(variable), floats) if change else variable


def numbers(variable: Variable, scale: Variable | None = None) -> NDArray[np.float32]:
    """A variable's values; `scale` undoes a quantisation: one factor per row, or one in all (int16)."""
    import numpy as np

    if variable.type == "bfloat16":
        halves = np.frombuffer(variable.data, np.uint16)
        values = (halves.astype(np.uint32) << 16).view(np.float32)
    else:
        values = np.frombuffer(variable.data, variable.type).astype(np.float32)
    if scale is not None:
        factors = np.frombuffer(scale.data, np.float32)
        values = (values.reshape(factors.size, -1) / factors[:, None]).astype(np.float32)
    return values.reshape(variable.shape)


def _as_floats(variable: Variable, values: NDArray[np.float32], type_: str) -> Variable:
    import numpy as np

    if type_ == "bfloat16":  # the upper half, rounded to the nearest even
        bits = np.ascontiguousarray(values).view(np.uint32)
        halves = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
        halves[np.isnan(values)] = 0x7FC0
        return Variable(variable.name, variable.shape, type_, halves.data.cast("B"))
    return Variable(variable.name, variable.shape, type_, np.ascontiguousarray(values, type_).data.cast("B"))


def _quantise(variable: Variable, values: NDArray[np.float32]) -> Iterator[Variable]:
    """Each row scaled so that its largest value is 127, as CTranslate2's model_spec.py and its kernels do."""
    import numpy as np

    largest = np.abs(values).max(axis=1)
    largest[largest == 0] = 127
    scale = (np.float32(127) / np.maximum(largest, np.float32(127) / np.finfo(np.float32).max)).astype(np.float32)
    values *= scale[:, None]
    quantised = np.rint(values, out=values).astype(np.int8)
    yield Variable(variable.name, variable.shape, "int8", quantised.data.cast("B"))
    yield Variable(variable.name + "_scale", scale.shape, "float32", scale.data.cast("B"))
