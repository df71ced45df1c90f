"""Starts an engine's threads: all of them, or the engine does not open."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from speech_server.errors import ThreadsExhausted


def start_threads(threads: Sequence[threading.Thread], purpose: str) -> None:
    try:
        for thread in threads:
            thread.start()
    except RuntimeError as error:
        raise ThreadsExhausted(
            f"the system gives this process no more threads, and {purpose!r} needs {len(threads)}: raise the limit on "
            f"processes (pids), or load fewer models"
        ) from error
