"""ONNX files, as far as it takes to read a network's weights and to write another graph for them.

The package for this, onnx, is larger than all that uses it here. Numbers of fields are those of onnx.proto3; the wire
format is protobuf's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Field = int | bytes
_IR, _OPSET = 8, 17
_FLOAT, _INT64, _INT_ATTRIBUTE = 1, 7, 2
_TYPES: dict[np.dtype[np.generic], int] = {np.dtype(np.float32): _FLOAT, np.dtype(np.int64): _INT64}


def read_weights(data: bytes) -> dict[str, NDArray[np.float32]]:
    """The network's tensors of floats by name; none of a file that is no such network."""
    try:
        tensors = [_tensor(tensor) for graph in _of(data, 7) for tensor in _of(graph, 5)]
    except (IndexError, OverflowError, ValueError):
        return {}
    return {name: values for name, values in tensors if values is not None}


def _tensor(data: bytes) -> tuple[str, NDArray[np.float32] | None]:
    fields = list(_fields(data))
    name = b"".join(value for number, value in fields if number == 8 and isinstance(value, bytes))
    raw = [value for number, value in fields if number == 9 and isinstance(value, bytes)]
    if (2, _FLOAT) not in fields or not raw:
        return name.decode(), None
    return name.decode(), np.frombuffer(raw[0], "<f4").reshape(list(_dims(fields)))


def _dims(fields: Sequence[tuple[int, Field]]) -> Iterator[int]:
    """One after the other, or packed."""
    for number, value in fields:
        if number == 1 and isinstance(value, int):
            yield value
        elif number == 1 and isinstance(value, bytes):
            at = 0
            while at < len(value):
                dim, at = _varint(value, at)
                yield dim


def _of(data: bytes, wanted: int) -> Iterator[bytes]:
    """The messages or strings in a field."""
    return (value for number, value in _fields(data) if number == wanted and isinstance(value, bytes))


def _fields(data: bytes) -> Iterator[tuple[int, Field]]:
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind, value = tag & 7, 0
        if kind == 0:
            value, at = _varint(data, at)
            yield tag >> 3, value
            continue
        size, at = _varint(data, at) if kind == 2 else ({1: 8, 5: 4}.get(kind, len(data)), at)
        if at + size > len(data):
            raise ValueError("a field goes beyond its message's end")
        yield tag >> 3, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The number, and where the next field begins."""
    value = shift = 0
    while data[at] & 0x80:
        value |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
    return value | data[at] << shift, at + 1


@dataclass
class Graph:
    """A network of nodes. `inputs` and `outputs`: names and shapes, None for what differs from call to call."""

    inputs: Mapping[str, Sequence[int | None]]
    outputs: Mapping[str, Sequence[int | None]]
    _nodes: list[bytes] = field(default_factory=list)
    _tensors: list[bytes] = field(default_factory=list)

    def constant(self, name: str, values: NDArray[np.float32] | NDArray[np.int64]) -> str:
        dims = b"".join(_write(1, dim) for dim in values.shape)
        kind = _write(2, _TYPES[values.dtype])
        self._tensors.append(dims + kind + _write(8, name) + _write(9, values.tobytes()))
        return name

    def node(self, kind: str, inputs: Sequence[str], *outputs: str, **numbers: int) -> str:
        """`numbers`: its attributes. Returns the first output's name."""
        names = b"".join([_write(1, name) for name in inputs] + [_write(2, name) for name in outputs])
        attributes = (
            _write(1, name) + _write(3, value) + _write(20, _INT_ATTRIBUTE) for name, value in numbers.items()
        )
        self._nodes.append(names + _write(4, kind) + b"".join(_write(5, attribute) for attribute in attributes))
        return outputs[0]

    def to_bytes(self) -> bytes:
        parts = [
            *(_write(1, node) for node in self._nodes),
            _write(2, "graph"),
            *(_write(5, tensor) for tensor in self._tensors),
            *(_write(11, _value(name, shape)) for name, shape in self.inputs.items()),
            *(_write(12, _value(name, shape)) for name, shape in self.outputs.items()),
        ]
        return _write(1, _IR) + _write(7, b"".join(parts)) + _write(8, _write(1, "") + _write(2, _OPSET))


def _value(name: str, shape: Sequence[int | None]) -> bytes:
    """What goes in or comes out: a tensor of floats."""
    dims = b"".join(_write(1, _write(2, "n") if dim is None else _write(1, dim)) for dim in shape)
    return _write(1, name) + _write(2, _write(1, _write(1, _FLOAT) + _write(2, dims)))


def _write(number: int, value: int | str | bytes) -> bytes:
    """A field: a number, a text, or a message."""
    if isinstance(value, int):
        return _to_varint(number << 3) + _to_varint(value)
    data = value.encode() if isinstance(value, str) else value
    return _to_varint(number << 3 | 2) + _to_varint(len(data)) + data


def _to_varint(value: int) -> bytes:
    """Of a number that is not negative."""
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*written, value))
