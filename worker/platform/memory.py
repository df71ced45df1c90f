"""Gives the memory of large results back to the system as soon as they are sent."""

from __future__ import annotations

import ctypes
import sys

_M_MMAP_THRESHOLD = -3  # malloc.h
_LARGE = 1 << 20


def return_large_blocks() -> None:
    """Keeps glibc from raising its threshold to 32 MB after the first large free.

    Above that threshold blocks are mapped and unmapped one by one; below, they fragment the heap, and a worker that
    once sent 20 MB keeps growing.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGE)
