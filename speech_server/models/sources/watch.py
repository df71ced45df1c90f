"""Reports how far a download is by the bytes that have arrived in its folder, whoever writes them."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from speech_server.models.disk.cache import Progress

_POLL = 0.2  # seconds


@contextmanager
def watched(folder: Path, total: int, progress: Progress, label: str) -> Iterator[None]:
    before = bytes_in(folder)
    finished = threading.Event()

    def report() -> None:
        done = 0
        while not finished.wait(_POLL):
            done = max(done, min(bytes_in(folder) - before, total))
            progress(done, total, label)

    progress(0, total, label)
    thread = threading.Thread(target=report, name="download-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()
    progress(total, total, label)


def bytes_in(folder: Path) -> int:
    """Sizes of all files below; those that vanish meanwhile, for downloaders move their files about, count nothing."""
    total = 0
    for parent, _, names in os.walk(folder):  # skips folders that are gone
        for name in names:
            with suppress(FileNotFoundError):
                total += os.lstat(os.path.join(parent, name)).st_size  # noqa: PTH118  # many times a second
    return total
