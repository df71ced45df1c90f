"""What NVIDIA's driver tells of the cards: their names and free memory, or why there is none. Needs no CUDA toolkit."""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from speech_server.errors import GpuUnavailable

log = logging.getLogger(__name__)

LIBRARY = "libcuda.so.1"  # the driver brings it into the container, for the capability `compute`
_OLDEST = 12_000  # CUDA 12.0, as the driver counts: what the libraries here are made for
_TEXT = 96  # bytes, enough for every name
_RELEASE_THRESHOLD = 4  # cuda.h: CU_MEMPOOL_ATTR_RELEASE_THRESHOLD


@dataclass(frozen=True, slots=True)
class Card:
    """As CUDA numbers them in this process; how much is free changes."""

    number: int
    name: str
    free_bytes: int
    total_bytes: int


class Driver:
    """Raises GpuUnavailable where there is none, or one that is too old; its methods do when it refuses."""

    def __init__(self) -> None:
        try:
            self._library: Any = ctypes.CDLL(LIBRARY)
        except OSError as error:
            raise GpuUnavailable(
                f"NVIDIA's driver is not to be seen from here ({error}): start the container with the card (docker run "
                "--gpus all; the image for CPUs asks for none), and with compute among NVIDIA_DRIVER_CAPABILITIES"
            ) from error
        self._call("cuInit", ctypes.c_uint(0))
        version = ctypes.c_int()
        self._call("cuDriverGetVersion", ctypes.byref(version))
        if version.value < _OLDEST:
            raise GpuUnavailable(
                f"NVIDIA's driver is one for CUDA {version.value // 1000}.{version.value % 1000 // 10}, and CUDA 12 is "
                "needed: ask for machines with a newer one (allowedCudaVersions)"
            )

    def count(self) -> int:
        count = ctypes.c_int()
        self._call("cuDeviceGetCount", ctypes.byref(count))
        return count.value

    def card(self, number: int) -> Card:
        """Cheap where something runs on the card already; else it is woken, which takes tenths of a second."""
        device = self._device(number)
        name = ctypes.create_string_buffer(_TEXT)
        self._call("cuDeviceGetName", name, ctypes.c_int(_TEXT), device)
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        # The context that the engines use: memory is asked of one.
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context := ctypes.c_void_p()), device)
        try:
            self._call("cuCtxPushCurrent_v2", context)
            try:
                self._call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
            finally:
                self._call("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))
        finally:
            self._call("cuDevicePrimaryCtxRelease_v2", device)
        return Card(number, name.value.decode(errors="replace"), free.value, total.value)

    def keep_freed(self, number: int) -> None:
        """Let the card's pool keep up to half of its memory when it is freed: by default all of it goes back to the
        driver whenever the card is waited for, and is taken anew in the next step."""
        device = self._device(number)
        total = ctypes.c_size_t()
        self._call("cuDeviceTotalMem_v2", ctypes.byref(total), device)
        pool = ctypes.c_void_p()
        self._call("cuDeviceGetDefaultMemPool", ctypes.byref(pool), device)
        most = ctypes.c_uint64(total.value // 2)
        self._call("cuMemPoolSetAttribute", pool, ctypes.c_int(_RELEASE_THRESHOLD), ctypes.byref(most))

    def _device(self, number: int) -> ctypes.c_int:
        device = ctypes.c_int()
        self._call("cuDeviceGet", ctypes.byref(device), ctypes.c_int(number))
        return device

    def _call(self, name: str, *arguments: Any) -> None:
        try:
            function = getattr(self._library, name)
        except AttributeError as error:
            raise GpuUnavailable(f"NVIDIA's driver has no {name}: it is too old, or another library") from error
        if code := function(*arguments):
            raise GpuUnavailable(f"NVIDIA's driver answers {name} with error {code}: {self._meaning(code)}")

    def _meaning(self, code: int) -> str:
        text = ctypes.c_char_p()
        if self._library.cuGetErrorString(ctypes.c_int(code), ctypes.byref(text)) or not text.value:
            return "which it does not explain"
        return text.value.decode(errors="replace")


def find_cards(numbers: Sequence[int]) -> tuple[Card, ...]:
    """Those that the driver tells of; it is asked for the log's sake, so what it refuses is said there and no more."""
    if not numbers:
        return ()
    try:
        driver = Driver()
        return tuple(driver.card(number) for number in numbers)
    except GpuUnavailable as error:
        log.warning("how much of the card's memory is free is not known: %s", error.message)
        return ()


def keep_freed_memory(numbers: Sequence[int]) -> None:
    """For the cards that CTranslate2 is about to run on. A driver that does not do it costs time, nothing else."""
    try:
        driver = Driver()
        for number in numbers:
            driver.keep_freed(number)
    except GpuUnavailable as error:
        log.warning("freed memory goes back to the driver, which takes time: %s", error.message)
