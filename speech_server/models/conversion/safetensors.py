"""Reads safetensors files without copying: eight bytes of header length, a JSON header, the tensors' bytes."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints, TypeAdapter

from speech_server.engines.whisper.weights import Variable
from speech_server.errors import ModelBroken
from speech_server.models.conversion.weights import numbers

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_NAMES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_LONGEST_HEADER = 16 << 20  # bytes; large-v3's has 150 kB
_Count = Annotated[int, Field(ge=0)]


class _Entry(BaseModel):
    dtype: Literal["F32", "F16", "BF16"]
    shape: Annotated[tuple[_Count, ...], Field(max_length=4)]
    data_offsets: tuple[_Count, _Count]


# Its dots become objects in objects, hundreds of bytes each; Whisper's longest has 50 characters.
_Name = Annotated[str, StringConstraints(max_length=500)]
_Header = dict[_Name, _Entry | dict[str, str]]
_HEADER: TypeAdapter[_Header] = TypeAdapter(_Header)


def read_tensors(paths: list[Path]) -> dict[str, NDArray[np.generic]]:
    """Every tensor of the files by its name, as a view where numpy has its type. Raises ModelBroken.

    bfloat16 numpy has not. Where all tensors are of it they come as their bits (uint16); beside others, as float32.
    """
    found = [variable for path in paths for variable in _variables(path)]
    as_bits = all(variable.type == "bfloat16" for variable in found)
    return {variable.name: _values(variable, as_bits) for variable in found}


def _variables(path: Path) -> Iterator[Variable]:
    try:
        with path.open("rb") as file:
            content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        start = 8 + min(int.from_bytes(content[:8], "little"), _LONGEST_HEADER)
        for name, entry in _HEADER.validate_json(bytes(content[8:start])).items():
            if isinstance(entry, _Entry):
                first, last = entry.data_offsets
                yield Variable(name, entry.shape, _NAMES[entry.dtype], content[start + first : start + last])
    except ValueError as error:
        reason = str(error).partition("\n")[0]
        raise ModelBroken(f"{path} is no safetensors file of floats: {reason}") from error


def _values(variable: Variable, as_bits: bool) -> NDArray[np.generic]:
    import numpy as np

    try:
        if variable.type == "bfloat16" and not as_bits:
            return numbers(variable)
        type_ = "uint16" if as_bits else variable.type
        return np.frombuffer(variable.data, np.dtype(type_).newbyteorder("<")).reshape(variable.shape)
    except ValueError as error:
        raise ModelBroken(f"The tensor {variable.name[:100]} is not as long as its shape says: {error}") from error
