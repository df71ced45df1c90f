"""Turn detection: voice probabilities in, turns out. Pure, constant cost per frame."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from speech_server.domain import FRAME, RATE
from speech_server.realtime.protocol.config import ServerVad

# One loud frame is a click; speech starts with the second.
ONSET_FRAMES = 2
# Silero's own hysteresis: speech goes on until the probability falls this far below the threshold.
HYSTERESIS = 0.15


class Kind(Enum):
    STARTED = auto()
    PAUSED = auto()  # the closing silence runs: the turn ends unless speech resumes
    RESUMED = auto()
    ENDED = auto()


@dataclass(frozen=True, slots=True)
class Change:
    kind: Kind
    at: int  # sample: where speech began (STARTED), or where it fell silent (PAUSED, ENDED)


class TurnDetector:
    """Feed it one probability per frame, in order; positions count samples from `start`."""

    def __init__(self, options: ServerVad, start: int = 0) -> None:
        self._options = options
        self._position = start
        self._loud = 0  # frames in a row over the threshold, before speech has begun
        self._speaking = False
        self._silent_since: int | None = None
        self._silence = self._closing = closing_samples(options.silence_duration_ms)

    def wait_for(self, silence_ms: int) -> None:
        """So long a silence ends this turn, unless speech resumes; then it is as before."""
        self._closing = closing_samples(silence_ms)

    def feed(self, probability: float) -> Change | None:
        before, self._position = self._position, self._position + FRAME
        if not self._speaking:
            return self._onset(probability)
        if probability >= self._options.threshold:
            resumed = self._silent_since is not None
            self._silent_since, self._closing = None, self._silence
            return Change(Kind.RESUMED, before) if resumed else None
        if self._silent_since is None:
            if probability >= max(self._options.threshold - HYSTERESIS, 0.01):
                return None
            self._silent_since = before
            if self._position - before < self._closing:
                return Change(Kind.PAUSED, before)
        if self._position - self._silent_since < self._closing:
            return None
        ended = Change(Kind.ENDED, self._silent_since)
        self.reset()
        return ended

    def _onset(self, probability: float) -> Change | None:
        self._loud = self._loud + 1 if probability >= self._options.threshold else 0
        if self._loud < ONSET_FRAMES:
            return None
        self._speaking = True
        return Change(Kind.STARTED, self._position - self._loud * FRAME)

    def reset(self) -> None:
        """Back to waiting for speech; the position stays."""
        self._loud, self._speaking, self._silent_since, self._closing = 0, False, None, self._silence


def closing_samples(milliseconds: int) -> int:
    """Frames are 32 ms apart: the nearest one is at most 16 ms off, the next one up to 32 ms late."""
    return max(FRAME, milliseconds * RATE // 1000 - FRAME // 2)
