"""libcuda.so.1 as far as it is asked here, for machines without a card: what it is called with, and what it refuses."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import pytest

GIGABYTE = 1 << 30
MEANINGS = {100: b"no CUDA-capable device is detected", 801: b"operation not supported", 999: None}


class StandInDriver:
    """Arguments made by byref are written to, as C would."""

    def __init__(self, *, version: int = 12_080, cards: int = 1, refuses: dict[str, int] | None = None) -> None:
        self._version, self._cards, self._refuses = version, cards, refuses or {}
        self.held = 0  # contexts retained and not released
        self.thresholds: list[int] = []

    def __getattr__(self, name: str) -> Callable[..., int]:
        if not name.startswith("cu"):
            raise AttributeError(name)
        if code := self._refuses.get(name):
            return lambda *_: code
        return lambda *arguments: self._do(name, *arguments) or 0

    def _do(self, name: str, *arguments: Any) -> None:
        match name:
            case "cuDriverGetVersion":
                write(arguments[0], self._version)
            case "cuDeviceGetCount":
                write(arguments[0], self._cards)
            case "cuDeviceGetName":
                arguments[0].value = b"NVIDIA L4"
            case "cuMemGetInfo_v2":
                write(arguments[0], 20 * GIGABYTE)
                write(arguments[1], 24 * GIGABYTE)
            case "cuDeviceTotalMem_v2":
                write(arguments[0], 24 * GIGABYTE)
            case "cuDevicePrimaryCtxRetain":
                self.held += 1
            case "cuDevicePrimaryCtxRelease_v2":
                self.held -= 1
            case "cuMemPoolSetAttribute":
                assert arguments[1].value == 4  # CU_MEMPOOL_ATTR_RELEASE_THRESHOLD
                self.thresholds.append(arguments[2]._obj.value)
            case "cuGetErrorString":
                write(arguments[1], MEANINGS.get(arguments[0].value))


def write(reference: Any, value: Any) -> None:
    reference._obj.value = value


def install(monkeypatch: pytest.MonkeyPatch, driver: StandInDriver) -> StandInDriver:
    """It is what `libcuda.so.1` opens; other libraries are opened as ever."""
    real = ctypes.CDLL

    def open_library(name: str, *rest: Any, **options: Any) -> Any:
        return driver if name == "libcuda.so.1" else real(name, *rest, **options)

    monkeypatch.setattr(ctypes, "CDLL", open_library)
    return driver
