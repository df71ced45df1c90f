"""The CUDA driver, asked how much of a GPU's memory is free. It comes with the GPU: nothing is installed for this."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

# Of CUmemPool_attribute, in cuda.h.
_RESERVED, _USED = 5, 7


class GpuMemory(NamedTuple):
    """Bytes. `free` includes what a pool keeps of freed memory for whoever asks next, as CTranslate2 does."""

    free: int
    total: int


class Driver:
    """libcuda. GPUs have the numbers that CUDA_VISIBLE_DEVICES leaves them, as everywhere in this process.

    Raises OSError where there is no driver, and whenever that answers with an error: after one that a process cannot
    recover from, it does so for ever.
    """

    def __init__(self, library: Any = None) -> None:
        self._library = library or ctypes.CDLL("libcuda.so.1")
        self._contexts: dict[int, ctypes.c_void_p] = {}
        self._lock = threading.Lock()
        self._call("cuInit", ctypes.c_uint(0))
        count = ctypes.c_int()
        self._call("cuDeviceGetCount", ctypes.byref(count))
        self.gpus = count.value

    def memory(self, gpu: int) -> GpuMemory:
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        with self._context(gpu):
            self._call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return GpuMemory(free.value + self._pooled(gpu), total.value)

    def known(self) -> list[int]:
        """The GPUs that were asked for."""
        return list(self._contexts)

    def _pooled(self, gpu: int) -> int:
        pool, reserved, used = ctypes.c_void_p(), ctypes.c_uint64(), ctypes.c_uint64()
        try:
            self._call("cuDeviceGetMemPool", ctypes.byref(pool), ctypes.c_int(gpu))
            self._call("cuMemPoolGetAttribute", pool, ctypes.c_int(_RESERVED), ctypes.byref(reserved))
            self._call("cuMemPoolGetAttribute", pool, ctypes.c_int(_USED), ctypes.byref(used))
        except OSError:  # a GPU without pools
            return 0
        return max(reserved.value - used.value, 0)

    @contextmanager
    def _context(self, gpu: int) -> Iterator[None]:
        """The one that all libraries of a process share. It is kept: letting the last hold go would destroy it."""
        with self._lock:
            if gpu not in self._contexts:
                context = ctypes.c_void_p()
                self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), ctypes.c_int(gpu))
                self._contexts[gpu] = context
        self._call("cuCtxPushCurrent_v2", self._contexts[gpu])
        try:
            yield
        finally:
            self._call("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))

    def _call(self, name: str, *arguments: Any) -> None:
        function: Callable[..., int] | None = getattr(self._library, name, None)
        if function is None:
            raise OSError(f"the CUDA driver has no {name}: it is too old")
        if code := function(*arguments):
            raise OSError(f"the CUDA driver's {name} answered {code}")


@cache
def find_driver() -> Driver | None:
    """None where no GPU is to be used."""
    try:
        driver = Driver()
    except OSError:
        return None
    return driver if driver.gpus else None


def memory_of(gpus: Sequence[int]) -> GpuMemory | None:
    """Of the fullest of these; None where there is none, or it does not tell."""
    driver = find_driver()
    try:
        return min((driver.memory(gpu) for gpu in gpus), default=None) if driver else None
    except OSError:
        return None


def is_lost() -> bool:
    """Whether a GPU that engines use has stopped answering, for good."""
    driver = find_driver()
    if driver is None:
        return False
    try:
        for gpu in driver.known():
            driver.memory(gpu)
    except OSError:
        return True
    return False
