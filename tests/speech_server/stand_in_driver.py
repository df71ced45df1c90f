"""libcuda.so.1 as far as it is asked here, for machines without a card: what it is called with is checked, and its
answers are the test's."""

# ruff: noqa: N802  # the names are cuda.h's
from __future__ import annotations

import ctypes
from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest

from speech_server.engines import cuda

LOST = 700  # CUDA_ERROR_ILLEGAL_ADDRESS
GB = 1_000_000_000
MEANINGS = {100: b"no CUDA-capable device is detected", 801: b"operation not supported"}


class StandInDriver:
    """Every function by its name in cuda.h, with the types of its arguments there; those that `refuses` names answer
    with its error, and all that reach a card with `error`."""

    def __init__(self, cards: int = 1, *, version: int = 12_080, refuses: Mapping[str, int] = {}) -> None:
        self.cards, self.version, self.refuses = cards, version, refuses
        self.free, self.total = 20 * GB, 24 * GB
        self.reserved = self.used = 0
        self.error = 0
        self.current: list[int] = []
        self.retained: list[int] = []
        self.thresholds: list[int] = []

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("cu") and name != "current" and (code := self.refuses.get(name)):
            return lambda *_: code
        return super().__getattribute__(name)

    def cuInit(self, flags: ctypes.c_uint) -> int:
        return int(flags.value)

    def cuDriverGetVersion(self, version: Any) -> int:
        version._obj.value = self.version
        return 0

    def cuGetErrorString(self, code: ctypes.c_int, text: Any) -> int:
        text._obj.value = MEANINGS.get(code.value)
        return 0 if code.value in MEANINGS else 1

    def cuDeviceGetCount(self, count: Any) -> int:
        count._obj.value = self.cards
        return 0

    def cuDeviceGet(self, device: Any, number: ctypes.c_int) -> int:
        assert 0 <= number.value < self.cards
        device._obj.value = number.value
        return 0

    def cuDeviceGetName(self, name: Any, length: ctypes.c_int, device: ctypes.c_int) -> int:
        assert len(name) == length.value
        name.value = b"NVIDIA L4"
        return 0

    def cuDeviceTotalMem_v2(self, total: Any, device: ctypes.c_int) -> int:
        total._obj.value = self.total
        return 0

    def cuDevicePrimaryCtxRetain(self, context: Any, device: ctypes.c_int) -> int:
        self.retained.append(device.value)
        context._obj.value = 0x1000 + device.value
        return self.error

    def cuCtxPushCurrent_v2(self, context: ctypes.c_void_p) -> int:
        assert context.value
        self.current.append(context.value)
        return 0

    def cuCtxPopCurrent_v2(self, context: Any) -> int:
        context._obj.value = self.current.pop()
        return 0

    def cuMemGetInfo_v2(self, free: Any, total: Any) -> int:
        assert self.current, "no context: the driver would answer CUDA_ERROR_INVALID_CONTEXT"
        assert isinstance(free._obj, ctypes.c_size_t)
        free._obj.value, total._obj.value = self.free, self.total
        return self.error

    def cuDeviceGetMemPool(self, pool: Any, device: ctypes.c_int) -> int:
        pool._obj.value = 0x2000 + device.value
        return 0

    def cuMemPoolGetAttribute(self, pool: ctypes.c_void_p, attribute: ctypes.c_int, value: Any) -> int:
        assert pool.value
        assert isinstance(value._obj, ctypes.c_uint64)
        value._obj.value = {5: self.reserved, 7: self.used}[attribute.value]
        return 0

    def cuMemPoolSetAttribute(self, pool: ctypes.c_void_p, attribute: ctypes.c_int, value: Any) -> int:
        assert pool.value
        assert attribute.value == 4  # CU_MEMPOOL_ATTR_RELEASE_THRESHOLD
        self.thresholds.append(value._obj.value)
        return 0


def install(monkeypatch: pytest.MonkeyPatch, driver: StandInDriver) -> StandInDriver:
    """It is what `libcuda.so.1` opens; other libraries are opened as ever."""
    real = ctypes.CDLL

    def open_library(name: str, *rest: Any, **options: Any) -> Any:
        return driver if name == cuda.LIBRARY else real(name, *rest, **options)

    monkeypatch.setattr(ctypes, "CDLL", open_library)
    monkeypatch.setattr(cuda, "find_driver", cache(cuda.find_driver.__wrapped__))
    return driver
