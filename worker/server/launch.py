"""Runs a command that dies with its parent: python -I -S launch.py PARENT_PID COMMAND [ARGUMENT ...]

A program of its own, because the wish has to be stated in the child, and Python code between fork and exec can
deadlock once the parent has threads.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h; survives exec, not fork

parent, *command = sys.argv[1:]
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
if os.getppid() != int(parent):
    sys.exit("the worker ended while its server was being started")
try:
    os.execvp(command[0], command)  # noqa: S606 (no shell is the point)
except OSError as error:
    sys.exit(f"cannot run {command[0]}: {error.strerror}")
