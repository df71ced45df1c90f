"""libcuda with one GPU, or more: what the real one is called with is checked, and its answers are the test's."""

# ruff: noqa: N802  # the names are cuda.h's
from __future__ import annotations

import ctypes
from typing import Any

LOST = 700  # CUDA_ERROR_ILLEGAL_ADDRESS
GB = 1_000_000_000


class StandInDriver:
    """Every function by its name in cuda.h, with the types of its arguments there."""

    def __init__(self, gpus: int = 1, free: int = 20 * GB, total: int = 24 * GB, pools: bool = True) -> None:
        self.gpus, self.free, self.total, self.pools = gpus, free, total, pools
        self.reserved = self.used = 0
        self.error = 0
        self.current: list[int] = []
        self.retained: list[int] = []

    def cuInit(self, flags: ctypes.c_uint) -> int:
        return int(flags.value)

    def cuDeviceGetCount(self, count: Any) -> int:
        count._obj.value = self.gpus
        return 0

    def cuDevicePrimaryCtxRetain(self, context: Any, gpu: ctypes.c_int) -> int:
        assert 0 <= gpu.value < self.gpus
        self.retained.append(gpu.value)
        context._obj.value = 0x1000 + gpu.value
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

    def cuDeviceGetMemPool(self, pool: Any, gpu: ctypes.c_int) -> int:
        pool._obj.value = 0x2000 + gpu.value
        return 0 if self.pools else 801  # CUDA_ERROR_NOT_SUPPORTED

    def cuMemPoolGetAttribute(self, pool: ctypes.c_void_p, attribute: ctypes.c_int, value: Any) -> int:
        assert pool.value
        assert isinstance(value._obj, ctypes.c_uint64)
        value._obj.value = {5: self.reserved, 7: self.used}[attribute.value]
        return 0
