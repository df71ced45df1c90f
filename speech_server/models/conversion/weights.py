"""CTranslate2's model.bin: read without copying, written in another precision.

The format is that of ctranslate2's model_spec.py (binary version 6): a header, named variables (shape, type, bytes),
then aliases for variables that share their values. A quantised weight comes with a variable NAME_scale.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

from speech_server.errors import ModelBroken

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Precision = Literal["float32", "float16", "bfloat16", "int8", "int8_float32", "int8_float16"]

_TYPES = ("float32", "int8", "int16", "int32", "float16", "bfloat16")  # by their number in the file
_FLOATS = ("float32", "float16", "bfloat16")
_VERSION = 6


@dataclass(frozen=True, slots=True)
class Variable:
    """`data` are the values' bytes, little endian; a view into the file, or their own."""

    name: str
    shape: tuple[int, ...]
    type: str
    data: memoryview

    @property
    def is_weight(self) -> bool:
        """Whether CTranslate2 quantises it when it loads a Whisper at int8: matrices, not the 3-D convolutions."""
        return self.name.endswith("weight") and len(self.shape) == 2


@dataclass(frozen=True, slots=True)
class Weights:
    spec: str
    revision: int
    variables: tuple[Variable, ...]
    aliases: tuple[tuple[str, str], ...]  # (name, the variable it stands for)

    @property
    def precision(self) -> str:
        """The type of the largest variable: what the model was saved as."""
        return max(self.variables, key=lambda variable: len(variable.data)).type


def read_weights(path: Path) -> Weights:
    """Raises ModelBroken for anything that is no model.bin."""
    with path.open("rb") as file:
        try:
            content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            return _parse(content)
        except (ValueError, struct.error, IndexError, UnicodeDecodeError) as error:
            raise ModelBroken(f"{path} is no CTranslate2 model: {error}") from error


def _parse(content: memoryview) -> Weights:
    at = 0

    def number(format_: str) -> int:
        nonlocal at
        (value,) = struct.unpack_from("<" + format_, content, at)
        at += struct.calcsize("<" + format_)
        return int(value)

    def text() -> str:
        nonlocal at
        length = number("H")
        value = bytes(content[at : at + length])
        at += length
        if len(value) != length or value[-1:] != b"\0":
            raise ValueError("the file is cut off")
        return value[:-1].decode()

    version = number("I")
    if version != _VERSION:
        raise ValueError(f"binary version {version}, not {_VERSION}")
    spec, revision = text(), number("I")
    variables = []
    for _ in range(number("I")):
        name = text()
        shape = tuple(number("I") for _ in range(number("B")))
        type_, size = _TYPES[number("B")], number("I")
        if at + size > len(content):
            raise ValueError("the file is cut off")
        variables.append(Variable(name, shape, type_, content[at : at + size]))
        at += size
    aliases = tuple((text(), text()) for _ in range(number("I")))
    return Weights(spec, revision, tuple(variables), aliases)


def write_weights(weights: Weights, precision: Precision, path: Path) -> None:
    """The same model in another precision; int8 values are those CTranslate2 computes when it loads at int8."""
    with path.open("wb") as file:
        file.write(struct.pack("<I", _VERSION))
        _write_text(file, weights.spec)
        file.write(struct.pack("<I", weights.revision))
        counter = file.tell()
        file.write(struct.pack("<I", 0))
        count = 0
        for variable in _converted(weights, precision):
            _write_text(file, variable.name)
            file.write(struct.pack(f"<B{len(variable.shape)}I", len(variable.shape), *variable.shape))
            file.write(struct.pack("<BI", _TYPES.index(variable.type), len(variable.data)))
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
