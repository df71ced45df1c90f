"""NVIDIA's management library, which comes with the driver: which card this is, and how much of its memory is taken."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

_TEXT = 96  # bytes, enough for every name
_PERIOD = 0.005  # seconds between two looks at the memory


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class Driver:
    """The first card that CUDA shows to this process. Raises OSError where there is no driver, or no card."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libnvidia-ml.so.1")
        self._call("nvmlInit_v2")
        self._card = ctypes.c_void_p()
        first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
        if first.isdecimal():
            self._call("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(int(first)), ctypes.byref(self._card))
        else:
            self._call("nvmlDeviceGetHandleByUUID", first.encode(), ctypes.byref(self._card))
        self._memory()  # which not every kind of card tells

    def name(self) -> str:
        return self._text("nvmlDeviceGetName", self._card)

    def version(self) -> str:
        return self._text("nvmlSystemGetDriverVersion")

    def cuda(self) -> str:
        """The newest CUDA that the driver runs."""
        version = ctypes.c_int()
        self._call("nvmlSystemGetCudaDriverVersion_v2", ctypes.byref(version))
        return f"{version.value // 1000}.{version.value % 1000 // 10}"

    def total(self) -> int:
        return int(self._memory().total)

    def used(self) -> int:
        return int(self._memory().used)

    @contextmanager
    def peak(self) -> Iterator[list[int]]:
        """The most that was taken while it is entered, in the list afterwards."""
        seen, done = [self.used()], threading.Event()

        def watch() -> None:
            while not done.wait(_PERIOD):
                seen.append(self.used())

        thread = threading.Thread(target=watch, name="memory")
        thread.start()
        most: list[int] = []
        try:
            yield most
        finally:
            done.set()
            thread.join()
            most.append(max(seen))

    def _memory(self) -> _Memory:
        memory = _Memory()
        self._call("nvmlDeviceGetMemoryInfo", self._card, ctypes.byref(memory))
        return memory

    def _text(self, name: str, *arguments: Any) -> str:
        text = ctypes.create_string_buffer(_TEXT)
        self._call(name, *arguments, text, ctypes.c_uint(_TEXT))
        return text.value.decode(errors="replace")

    def _call(self, name: str, *arguments: Any) -> None:
        if code := getattr(self._library, name)(*arguments):
            raise OSError(f"the driver's {name} answered {code}")


def find_driver() -> Driver | None:
    with suppress(OSError):
        return Driver()
    return None


def has_cuda() -> bool:
    """Whether CTranslate2 finds a card: what the server asks."""
    import ctranslate2

    return bool(ctranslate2.get_cuda_device_count() > 0)
