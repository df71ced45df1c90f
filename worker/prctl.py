"""What this process asks of the kernel: to end with its parent, and to be unreadable to what runs beside it."""

from __future__ import annotations

import ctypes
import signal
import sys

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4  # linux/prctl.h


def die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def hide_from_siblings() -> None:
    """Closes /proc/PID/environ and /proc/PID/mem of this process, and of its forks, to processes of the same user.

    They hold the platform's keys, and the speech server runs as the same user. CAP_SYS_PTRACE (on newer
    kernels CAP_PERFMON too) still opens them; the root of a container has neither by default.
    A program that is started from here can be read again: what it gets to see was chosen (child.py).
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0)
