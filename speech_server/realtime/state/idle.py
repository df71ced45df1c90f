"""How long nobody has said anything since the last answer was heard to its end. Pure; the clock is passed in."""

from __future__ import annotations

from collections.abc import Callable


class Idle:
    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._played_until = 0.0
        self._answered = False
        self._since: float | None = None
        self.position = 0  # of the audio, in samples, when the silence began

    def play(self, seconds: float) -> None:
        """So much more of an answer was sent; the player begins with it when it has played what came before."""
        self._played_until = max(self._played_until, self._clock()) + seconds

    def begin(self, position: int) -> None:
        """An answer is complete: what counts is when it has been heard."""
        self._answered, self.position = True, position
        self._since = max(self._played_until, self._clock())

    def go_on(self, position: int) -> None:
        """Somebody spoke, and it needs no answer."""
        if self._answered:
            self._since, self.position = self._clock(), position

    def end(self) -> None:
        """Somebody speaks, or the answer has failed or was stopped, and with it the player."""
        self._played_until, self._since = 0.0, None

    def hear(self, position: int) -> None:
        """So far the audio has come."""
        if self._since is not None and self._clock() <= self._since:
            self.position = position

    def due(self, timeout_ms: int) -> float | None:
        return None if self._since is None else self._since + timeout_ms / 1000
