"""Pauses within a turn: each is judged once, by a model that hears whether the turn is over. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from speech_server.domain import RATE
from speech_server.realtime.protocol.config import Eagerness
from speech_server.realtime.protocol.outputs import JudgePause, Outputs, StopWork, new_id
from speech_server.realtime.state.buffer import AudioBuffer
from speech_server.realtime.state.turns import closing_samples

LOOK_BACK = 8 * RATE  # samples: what Smart Turn hears


@dataclass
class Pauses:
    """`eagerness` None: nobody is asked."""

    _out: Outputs
    eagerness: Eagerness | None
    _judged: bool = False  # the present one: asked about, answered or not
    _asked: str | None = None  # the question that is not answered

    def go_on(self, audio: AudioBuffer, turn: int, silent_since: int, position: int) -> None:
        """There has been silence up to `position`, in a turn that began at `turn`."""
        eagerness = self.eagerness
        if eagerness is None or self._judged or position - silent_since < closing_samples(eagerness.ask_ms):
            return
        self._judged, self._asked = True, new_id("pause")
        self._out.do(JudgePause(self._asked, audio.cut(max(turn, position - LOOK_BACK), position)))

    def needed_from(self, position: int) -> int:
        """The first sample that a question at `position` may look back to."""
        return position - LOOK_BACK if self.eagerness else position

    def end(self) -> None:
        """Speech goes on, or the turn is over: nobody waits for an answer."""
        if self._asked is not None:
            self._out.do(StopWork(self._asked))
        self._judged, self._asked = False, None

    def answered(self, pause: str) -> Eagerness | None:
        """How to wait from now on, if this is the answer that is waited for."""
        if pause != self._asked:
            return None
        self._asked = None
        return self.eagerness
