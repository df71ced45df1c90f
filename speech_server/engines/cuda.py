"""What NVIDIA's driver tells of the cards: their names and free memory, or why there is none. Needs no CUDA toolkit."""

from __future__ import annotations

import ctypes
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, TypeVar

from speech_server.errors import GpuUnavailable

log = logging.getLogger(__name__)
T = TypeVar("T")

LIBRARY = "libcuda.so.1"  # the driver brings it into the container, for the capability `compute`
_OLDEST = 12_000  # CUDA 12.0, as the driver counts: what the libraries here are made for
_TEXT = 96  # bytes, enough for every name
_RELEASE_THRESHOLD, _RESERVED, _USED = 4, 5, 7  # of CUmemPool_attribute, in cuda.h


class GpuMemory(NamedTuple):
    """Bytes. `free` includes what a pool keeps of freed memory for whoever asks next, as CTranslate2 does."""

    free: int
    total: int


@dataclass(frozen=True, slots=True)
class Card:
    """As CUDA numbers them in this process; how much is free changes."""

    number: int
    name: str
    free_bytes: int
    total_bytes: int


class Driver:
    """Raises GpuUnavailable where there is none, or one that is too old; its methods do when it refuses: after an error
    that a process cannot recover from, for ever."""

    def __init__(self) -> None:
        try:
            self._library: Any = ctypes.CDLL(LIBRARY)
        except OSError as error:
            raise GpuUnavailable(
                f"NVIDIA's driver is not to be seen from here ({error}): start the container with the card (docker run "
                "--gpus all; the image for CPUs asks for none), and with compute among NVIDIA_DRIVER_CAPABILITIES"
            ) from error
        self._contexts: dict[int, ctypes.c_void_p] = {}
        self._lock = threading.Lock()
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

    def memory(self, number: int) -> GpuMemory:
        """Cheap where something runs on the card already; else it is woken, which takes tenths of a second."""
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        with self._context(number):
            self._call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return GpuMemory(free.value + self._pooled(number), total.value)

    def card(self, number: int) -> Card:
        name = ctypes.create_string_buffer(_TEXT)
        self._call("cuDeviceGetName", name, ctypes.c_int(_TEXT), self._device(number))
        return Card(number, name.value.decode(errors="replace"), *self.memory(number))

    def known(self) -> list[int]:
        """The cards whose memory was asked for."""
        return list(self._contexts)

    def keep_freed(self, number: int) -> None:
        """Let the card's pool keep up to half of its memory when it is freed: by default all of it goes back to the
        driver whenever the card is waited for, and is taken anew in the next step."""
        total = ctypes.c_size_t()
        self._call("cuDeviceTotalMem_v2", ctypes.byref(total), self._device(number))
        most = ctypes.c_uint64(total.value // 2)
        self._call("cuMemPoolSetAttribute", self._pool(number), ctypes.c_int(_RELEASE_THRESHOLD), ctypes.byref(most))

    def _pooled(self, number: int) -> int:
        reserved, used = ctypes.c_uint64(), ctypes.c_uint64()
        try:
            pool = self._pool(number)
            self._call("cuMemPoolGetAttribute", pool, ctypes.c_int(_RESERVED), ctypes.byref(reserved))
            self._call("cuMemPoolGetAttribute", pool, ctypes.c_int(_USED), ctypes.byref(used))
        except GpuUnavailable:  # a card without pools
            return 0
        return max(reserved.value - used.value, 0)

    def _pool(self, number: int) -> ctypes.c_void_p:
        pool = ctypes.c_void_p()
        self._call("cuDeviceGetMemPool", ctypes.byref(pool), self._device(number))
        return pool

    @contextmanager
    def _context(self, number: int) -> Iterator[None]:
        """The one that all libraries of a process share. It is kept: letting the last hold go would destroy it."""
        with self._lock:
            if number not in self._contexts:
                context = ctypes.c_void_p()
                self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), self._device(number))
                self._contexts[number] = context
        self._call("cuCtxPushCurrent_v2", self._contexts[number])
        try:
            yield
        finally:
            self._call("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))

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


@cache
def find_driver() -> Driver | None:
    """None where no card is to be used."""
    try:
        driver = Driver()
        return driver if driver.count() else None
    except GpuUnavailable:
        return None


def memory_of(numbers: Sequence[int]) -> GpuMemory | None:
    """Of the fullest of these cards; None where there is none, or it does not tell."""
    return _told(lambda driver: min((driver.memory(number) for number in numbers), default=None), None)


def is_lost() -> bool:
    """Whether a card that engines use has stopped answering, for good."""
    driver = find_driver()
    if driver is None:
        return False
    try:
        for number in driver.known():
            driver.memory(number)
    except GpuUnavailable:
        return True
    return False


def find_cards(numbers: Sequence[int]) -> tuple[Card, ...]:
    """Those that the driver tells of; it is asked for the log's sake, so what it refuses is said there and no more."""
    if not numbers:
        return ()
    trouble = "how much of the card's memory is free is not known"
    return _told(lambda driver: tuple(map(driver.card, numbers)), (), trouble)


def keep_freed_memory(numbers: Sequence[int]) -> None:
    """For the cards that CTranslate2 is about to run on. A driver that does not do it costs time, nothing else."""

    def keep(driver: Driver) -> None:
        for number in numbers:
            driver.keep_freed(number)

    _told(keep, None, "freed memory goes back to the driver, which takes time")


def _told(ask: Callable[[Driver], T], otherwise: T, trouble: str = "") -> T:
    """The driver's answer; `otherwise` where there is no driver, or it refuses, which the log says is `trouble`."""
    driver = find_driver()
    try:
        return ask(driver) if driver else otherwise
    except GpuUnavailable as error:
        if trouble:
            log.warning("%s: %s", trouble, error.message)
        return otherwise
