"""When to send the next stretch of speech: a little before it is played, never all at once."""

from __future__ import annotations


class Pace:
    """Audio sent too early cannot be taken back when the person interrupts. `lead` seconds of it may be under way."""

    def __init__(self, lead: float) -> None:
        self._lead = lead
        self._played_until: float | None = None

    def wait(self, seconds: float, now: float) -> float:
        """How long to wait at `now` before `seconds` more of audio are sent; counts them as sent."""
        # After a gap in the supply the player stands still: what comes then is played from now on.
        begins = now if self._played_until is None else max(self._played_until, now)
        self._played_until = begins + seconds
        return max(0.0, begins - self._lead - now)
