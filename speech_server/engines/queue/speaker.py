"""What speaking engines share: what is asked for is checked, the text cut, its pieces spoken in the queue."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, replace

from speech_server.domain import Samples, Voice
from speech_server.engines.asked import split_speed
from speech_server.engines.interfaces import EngineArgs, SpeakOptions
from speech_server.engines.queue.speaking import Say, SpeechQueue
from speech_server.engines.queue.turnstile import Turnstile
from speech_server.text.sentences import cut


@dataclass(frozen=True, slots=True)
class Reading:
    """How one request's text is read."""

    language: str  # by which it is cut, and its signs are written out
    say: Say
    check: Callable[[str], object] | None = None  # sees every piece before one is spoken: raises InvalidRequest


class QueuedSpeaker(ABC):
    """Opens threads, which `close` ends: an engine calls this last."""

    sample_rate: int
    voices: Mapping[str, Voice]
    speeds = (1.0, 1.0)  # what it does well by itself; beyond, its sound is stretched

    def __init__(self, name: str, args: EngineArgs, *, workers: int = 1, turnstile: Turnstile | None = None) -> None:
        self._queue = SpeechQueue(name, workers, args, turnstile)
        self.batcher = self._queue.batcher

    def close(self) -> None:
        self._queue.close()

    def check(self, options: SpeakOptions) -> None:
        self._open(options)

    def speak(self, text: str, options: SpeakOptions) -> AsyncGenerator[Samples, None]:
        reading, tempo = self._open(options)
        return self._queue.speak(
            cut(text, reading.language, early=options.early),
            reading.say,
            rate=self.sample_rate,
            pause_scale=1 / options.speed,
            tempo=tempo,
            check=reading.check,
        )

    def _open(self, options: SpeakOptions) -> tuple[Reading, float]:
        own, tempo = split_speed(options.speed, self.speeds)
        return self._read(replace(options, speed=own)), tempo

    @abstractmethod
    def _read(self, options: SpeakOptions) -> Reading:
        """Raises InvalidRequest for a voice or language that it has not. The speed is one of its own."""
