"""CTranslate2's model.bin: read without copying.

The format is that of ctranslate2's model_spec.py (binary version 6): a header, named variables (shape, type, bytes),
then aliases for variables that share their values. A quantised weight comes with a variable NAME_scale.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path

from speech_server.errors import ModelBroken

TYPES = ("float32", "int8", "int16", "int32", "float16", "bfloat16")  # by their number in the file
VERSION = 6


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
    if version != VERSION:
        raise ValueError(f"binary version {version}, not {VERSION}")
    spec, revision = text(), number("I")
    variables = []
    for _ in range(number("I")):
        name = text()
        shape = tuple(number("I") for _ in range(number("B")))
        type_, size = TYPES[number("B")], number("I")
        if at + size > len(content):
            raise ValueError("the file is cut off")
        variables.append(Variable(name, shape, type_, content[at : at + size]))
        at += size
    aliases = tuple((text(), text()) for _ in range(number("I")))
    return Weights(spec, revision, tuple(variables), aliases)
