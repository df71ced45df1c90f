"""One turn of the person: audio that grows, cut into pieces a transcriber takes at once, and their texts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from speech_server.domain import FRAME, RATE
from speech_server.realtime.protocol.outputs import Written
from speech_server.realtime.state.deltas import Deltas

# Whisper's window is 30 s. A longer turn is transcribed piece by piece while it lasts, so that its end costs no more
# than a short one's, and only the open piece's audio is kept.
LONGEST_PIECE = 25 * RATE
SHORTEST_PIECE = 12 * RATE
# Characters of what was said before a piece that help to understand it: about two sentences.
LONGEST_BEFORE = 200
# Under this probability nothing in a piece was speech: Whisper would only invent something.
VOICED = 0.25


@dataclass
class Stretch:
    start: int  # sample
    probabilities: list[float] = field(default_factory=list)  # one per frame since `start`
    deltas: Deltas = field(default_factory=Deltas)
    source_deltas: Deltas = field(default_factory=Deltas)  # of a translation
    guessed_until: int = 0  # sample up to which a guess was made
    job: int | None = None  # the final transcription, running or done
    written: Written | None = None  # its result
    told: bool = False  # all of it has been sent as deltas

    @property
    def text(self) -> str | None:
        return self.written.text if self.written else None

    @property
    def voiced(self) -> bool:
        return any(probability >= VOICED for probability in self.probabilities)

    @property
    def end(self) -> int:
        return self.start + len(self.probabilities) * FRAME

    def quietest(self) -> int:
        """The best sample to cut at: the middle of the quietest frame that leaves a piece of a good length."""
        first = SHORTEST_PIECE // FRAME
        candidates = range(first, len(self.probabilities))
        return self.start + min(candidates, key=lambda i: (self.probabilities[i], -i)) * FRAME + FRAME // 2


@dataclass
class Utterance:
    item_id: str
    start: int
    pieces: list[Stretch] = field(default_factory=list)
    begun: bool = False  # a delta has been sent
    error: dict[str, Any] | None = None  # why a piece has no text
    part: int = 0  # of the item's content that it is the text of
    before: Utterance | None = None  # the one that this one goes on from, after a short pause

    def __post_init__(self) -> None:
        self.pieces.append(Stretch(self.start))

    @property
    def open(self) -> Stretch:
        return self.pieces[-1]

    @property
    def settled_before_open(self) -> bool:
        return all(piece.text is not None for piece in self.pieces[:-1])

    @property
    def text(self) -> str | None:
        """The whole text, once every piece has one."""
        texts = [piece.text for piece in self.pieces]
        known = [text for text in texts if text is not None]
        return None if len(known) < len(texts) else "".join(known).strip()

    def said_before(self, piece: Stretch) -> str:
        """The end of what was said right before a piece, as far as it is known by now."""
        pieces = [*(self.before.pieces if self.before else ()), *self.pieces[: self.pieces.index(piece)]]
        text = "".join(piece.text or "" for piece in pieces).strip()
        return text if len(text) <= LONGEST_BEFORE else text[-LONGEST_BEFORE:].partition(" ")[2]

    @property
    def language(self) -> str | None:
        """As the first piece with words has it."""
        return next((piece.written.language for piece in self.pieces if piece.written and piece.written.language), None)

    @property
    def seconds(self) -> float:
        return (self.open.end - self.start) / RATE

    def split(self) -> Stretch:
        """Close the open piece at its quietest place; the rest is the new open one. Returns the closed piece."""
        closed = self.open
        cut = closed.quietest()
        frames = (cut - closed.start) // FRAME
        self.pieces.append(Stretch(cut, probabilities=closed.probabilities[frames:]))
        del closed.probabilities[frames:]
        return closed
