"""Process-wide settings the engines want, made before they are imported: malloc's and the BLAS's threads."""

from __future__ import annotations

import ctypes
import os
import sys

# From malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8


def keep_memory() -> bool:
    """Call before threads start. CTranslate2 takes and returns 72 MB in every attention layer; without this glibc maps
    and unmaps such blocks each time, and page faults take a third of the encoder's time. Returns whether it took
    effect: not on another C library.
    """
    if sys.platform != "linux":
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    # One arena: freed blocks serve every thread. No block is mapped by itself, none is given back.
    values = {_M_ARENA_MAX: 1, _M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: 2**31 - 1}
    return all(library.mallopt(option, value) for option, value in values.items())


def give_back() -> None:
    """Freed memory, to the system. Blocking, some milliseconds; taking it again costs page faults."""
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "malloc_trim"):
        library.malloc_trim(0)


def use_one_blas_thread() -> None:
    """Call before NumPy is imported. Its matrices here are small; idle threads of a larger pool spin on other cores."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
