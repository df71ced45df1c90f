"""A translation as it grows: texts that are only ever appended to, turn after turn, and sentences that are spoken."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from speech_server.domain import RATE
from speech_server.realtime.protocol.config import SessionConfig
from speech_server.realtime.protocol.outputs import Outputs, Pronounce
from speech_server.text.growing import GrowingText

TICK_MS = 200  # OpenAI's `elapsed_ms` goes in such steps

Side = Literal["input", "output"]  # its own words, their English


@dataclass
class Turn:
    told: list[tuple[Side, str, int]] = field(default_factory=list)  # not sent yet: an earlier turn is not over
    over: bool = False


class Translation:
    """The client sees one text and not turns: a turn's words wait until those of all earlier ones are sent."""

    def __init__(self, config: SessionConfig, outputs: Outputs) -> None:
        self._out = outputs
        self._turns: dict[str, Turn] = {}
        self._begun: set[Side] = set()
        self._sentences = GrowingText()
        self._elapsed_ms = 0
        self.unspoken = 0
        self.configure(config)

    def configure(self, config: SessionConfig) -> None:
        assert config.translator is not None
        self.model = config.translator
        self._voice = config.audio.output if config.speaks else None

    # --- turns ---

    def begin(self, turn: str) -> None:
        self._turns.setdefault(turn, Turn())

    def delta(self, turn: str, side: Side, text: str, end: int) -> None:
        """`end`: the sample of the session up to which it was heard."""
        if text:
            self._turns.setdefault(turn, Turn()).told.append((side, text, end))
            self._tell()

    def end(self, turn: str) -> None:
        if turn in self._turns:
            self._turns[turn].over = True
            self._tell()

    def _tell(self) -> None:
        for name, turn in list(self._turns.items()):
            for side, text, end in turn.told:
                self._send(side, text, end)
            turn.told.clear()
            if not turn.over:
                return
            del self._turns[name]
            self._pronounce(self._sentences.finish())

    def _send(self, side: Side, text: str, end: int) -> None:
        if side not in self._begun:
            self._begun.add(side)
            text = text.lstrip()
        self._elapsed_ms = end * 1000 // RATE // TICK_MS * TICK_MS
        self._out.emit(f"session.{side}_transcript.delta", delta=text, elapsed_ms=self._elapsed_ms)
        if side == "output" and self._voice is not None:
            self._pronounce(self._sentences.add(text))

    # --- its sound ---

    def _pronounce(self, text: str) -> None:
        if self._voice is not None and text.strip():
            self.unspoken += 1
            self._out.do(Pronounce(text, self._voice, self._elapsed_ms))

    def pronouncing(self, of: Pronounce, data: str) -> None:
        """More of its sound: base64."""
        told = {"sample_rate": of.voice.format.rate, "channels": 1, "format": "pcm16", "elapsed_ms": of.elapsed_ms}
        self._out.emit("session.output_audio.delta", delta=data, **told)

    def pronounced(self) -> None:
        self.unspoken -= 1
