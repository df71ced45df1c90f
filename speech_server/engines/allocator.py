"""Tells glibc to keep large blocks of memory: CTranslate2 takes and returns 72 MB in every attention layer."""

from __future__ import annotations

import ctypes
import sys

# From malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8


def keep_memory() -> bool:
    """Call before threads start. Without it glibc maps and unmaps such blocks, and page faults take a third of the
    encoder's time. Returns whether it took effect: not on another C library.
    """
    if sys.platform != "linux":
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    # One arena: freed blocks serve every thread. No block is mapped by itself, none is given back.
    values = {_M_ARENA_MAX: 1, _M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: 2**31 - 1}
    return all(library.mallopt(option, value) for option, value in values.items())
