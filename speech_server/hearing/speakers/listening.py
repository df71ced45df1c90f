"""What is heard of a recording while it is read, block by block, by whoever looks for voices in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from speech_server.domain import FRAME, Samples
from speech_server.hearing.spans import VoiceStream


class Finder(Protocol):
    """Gives what is worth looking at, each with its sound, as soon as it is whole."""

    def feed(self, samples: Samples, probabilities: NDArray[np.float32]) -> Iterator[tuple[Any, Samples]]: ...
    def finish(self) -> Iterator[tuple[Any, Samples]]: ...


class VoiceListener:
    """Hands blocks to a voice detector's stream, and notes in `heard` what its finder finds in them."""

    def __init__(self, stream: VoiceStream, finder: Finder, heard: list[tuple[Any, Samples]]) -> None:
        self._stream = stream
        self._finder = finder
        self._heard = heard

    def feed(self, samples: Samples) -> NDArray[np.float32]:
        probabilities = self._stream.feed(samples)
        self._heard += self._finder.feed(samples, probabilities)
        return probabilities

    def finish(self) -> None:
        self._heard += self._finder.finish()


def listened(blocks: Iterator[Samples], listener: VoiceListener, seen: Callable[[Samples], None]) -> Iterator[int]:
    """All of a recording to its listener, and to `seen`; gives the samples of each block."""
    length = 0
    for block in blocks:
        length += len(block)
        if len(block):
            listener.feed(block)
        seen(block)
        yield len(block)
    listener.feed(np.zeros(FRAME - length % FRAME, np.float32))
    listener.finish()
    yield 0
