"""The memory engines take beside their weights, working: how large a batch may be, and who counts on how much."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from speech_server.engines.container_memory import free_memory
from speech_server.engines.cuda import memory_of

# Of what is free when an engine is loaded: the rest is for those loaded later, and for what allocators cannot join.
_SHARE = 3 / 4
_promised = {True: 0, False: 0}  # bytes: on GPUs, and in the container
_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes a worker takes whatever its batch, and bytes for each work in that."""

    worker: int
    work: int

    def of(self, workers: int, batch: int) -> int:
        """All of an engine's workers with full batches, and one more worker with a newcomer."""
        return (workers + 1) * self.worker + (workers * batch + 1) * self.work

    def batch(self, room: int, workers: int, most: int) -> int:
        """The largest batch that `room` bytes hold in all workers at once: 1 to `most`. One is tried in any case."""
        left = room - self.of(workers, 0)
        return max(1, min(most, left // (workers * self.work)))


class Workspace:
    """One engine's part of the memory of its GPUs, or of the container (none): until `close` nobody else counts on it.

    `batch` is how many works its workers (`workers` on each GPU) may take at once. `given` is a user's own number.
    """

    def __init__(self, need: Need, gpus: Sequence[int], workers: int, most: int, given: int = 0) -> None:
        self._on_gpu = bool(gpus)
        with _lock:
            free = _free(gpus)
            room = None if free is None else int(_SHARE * max(free - _promised[self._on_gpu], 0))
            self.batch = given or (most if room is None else need.batch(room, workers, most))
            self.bytes = need.of(workers, self.batch)
            _promised[self._on_gpu] += self.bytes

    def close(self) -> None:
        with _lock:
            _promised[self._on_gpu] -= self.bytes
            self.bytes = 0


def _free(gpus: Sequence[int]) -> int | None:
    """None where a driver does not tell: then whatever runs out of memory is done in smaller batches."""
    if not gpus:
        return free_memory()
    memory = memory_of(gpus)
    return memory.free if memory else None
