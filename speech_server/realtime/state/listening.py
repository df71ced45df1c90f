"""Listening: heard audio becomes turns, turns become user messages. Pure; the clock is passed in.

The text of a turn is there when the turn ends: guesses run while the person speaks, and the final transcription
starts as soon as they fall silent, while the closing silence still runs; it is thrown away when they go on. Where a
model is asked whether the turn is over, its answer makes that silence shorter or longer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import InitVar, dataclass, field

from speech_server.domain import FRAME, RATE, Samples
from speech_server.realtime.protocol.config import AudioInput
from speech_server.realtime.protocol.events import ProtocolError
from speech_server.realtime.protocol.items import Message, Part, wire
from speech_server.realtime.protocol.outputs import Outputs, new_id
from speech_server.realtime.state.buffer import AudioBuffer
from speech_server.realtime.state.conversation import Conversation
from speech_server.realtime.state.pauses import Pauses
from speech_server.realtime.state.transcripts import Transcripts
from speech_server.realtime.state.turns import ONSET_FRAMES, Change, Kind, TurnDetector
from speech_server.realtime.state.utterance import LONGEST_PIECE, Utterance

GUESS_EVERY = int(0.2 * RATE)  # samples of new speech per guess
# Samples of silence after which the final transcription is worth starting: shorter ones lie between words.
SPECULATE_AFTER = 6 * FRAME
SHORTEST_COMMIT = RATE // 10
# Samples of silence after which somebody still goes on with what they were saying: a pause in the middle of a sentence
# cuts a turn in two, and half a sentence without the other half is heard wrong.
LONGEST_PAUSE = 2 * RATE


@dataclass(frozen=True)
class Heard:
    samples: Samples
    probabilities: tuple[float, ...]  # one per frame completed by these samples
    refused: tuple[ProtocolError, ...] = ()


@dataclass
class Listener:
    """`_on_speech` is told when the person starts to speak. A turn of `_longest_turn` seconds ends by itself."""

    settings: InitVar[AudioInput]
    _out: Outputs
    _conversation: Conversation
    _transcripts: Transcripts
    _longest_turn: float
    _on_speech: Callable[[], None]
    _audio: AudioBuffer = field(default_factory=AudioBuffer)
    _position: int = 0  # samples covered by probabilities: whole frames
    _utterance: Utterance | None = None  # the one being spoken
    _silent_since: int | None = None
    _last: Utterance | None = None  # the one that was spoken before
    _free_from: int = 0  # where it ended: its words belong to no other

    def __post_init__(self, settings: AudioInput) -> None:
        self._pauses = Pauses(self._out, settings.eagerness)
        self._detect(settings)

    def _detect(self, settings: AudioInput) -> None:
        self._vad, self._pauses.eagerness = settings.vad, settings.eagerness
        self._detector = TurnDetector(self._vad, self._position) if self._vad else None

    @property
    def speaking(self) -> bool:
        return self._utterance is not None and self._detector is not None

    @property
    def heard(self) -> int:
        """Samples, since the session began."""
        return self._audio.end

    def configure(self, settings: AudioInput) -> None:
        self._transcripts.settings = settings
        if (settings.vad, settings.eagerness) != (self._vad, self._pauses.eagerness):
            self._drop()
            self._detect(settings)

    # --- audio ---

    def hear(self, heard: Heard) -> None:
        self._audio.append(heard.samples)
        for probability in heard.probabilities:
            self._hear_frame(probability)
        self._guess()
        self._audio.drop_before(self._needed_from())

    def _hear_frame(self, probability: float) -> None:
        before, self._position = self._position, self._position + FRAME
        change = self._detector.feed(probability) if self._detector else None
        if self._detector is None and self._utterance is None:
            self._utterance = Utterance(new_id("item"), before)
        if self._utterance is not None:
            self._utterance.open.probabilities.append(probability)
        if change is not None:
            self._turn(change)
        if (utterance := self._utterance) is not None:
            self._speculate(utterance)
            if self._silent_since is not None:
                self._pauses.go_on(self._audio, utterance.start, self._silent_since, self._position)
            self._limit(utterance)

    def _turn(self, change: Change) -> None:
        if change.kind is Kind.STARTED:
            self._begin(change.at)
        elif change.kind is Kind.PAUSED:
            self._silent_since = change.at
        elif change.kind is Kind.RESUMED and self._utterance is not None:
            self._silent_since = None
            self._pauses.end()
            self._transcripts.reopen(self._utterance.open)
        elif change.kind is Kind.ENDED and self._utterance is not None:
            self._end(self._utterance, change.at)

    def _begin(self, at: int) -> None:
        assert self._vad is not None
        start = max(self._audio.start, self._free_from, at - self._vad.prefix_padding_ms * RATE // 1000)
        goes_on = at - self._free_from <= LONGEST_PAUSE
        self._utterance = Utterance(new_id("item"), start, before=self._last if goes_on else None)
        # The padding and the onset were heard before anyone knew it was speech.
        self._utterance.open.probabilities = [self._vad.threshold] * ((self._position - start) // FRAME)
        self._out.emit("input_audio_buffer.speech_started", audio_start_ms=_ms(start), item_id=self._utterance.item_id)
        self._on_speech()

    def _speculate(self, utterance: Utterance) -> None:
        silent = self._silent_since
        if silent is not None and utterance.open.job is None and self._position - silent >= SPECULATE_AFTER:
            self._finish_piece(utterance, self._position)

    def _limit(self, utterance: Utterance) -> None:
        if self._position - utterance.start >= self._longest_turn * RATE:
            self._end(utterance, self._position)
        elif utterance.open.end - utterance.open.start >= LONGEST_PIECE:
            self._transcripts.reopen(utterance.open)
            closed = utterance.split()
            self._transcripts.finish(utterance, closed, self._audio.cut(closed.start, utterance.open.start))

    def _guess(self) -> None:
        utterance = self._utterance
        if utterance is None or utterance.open.job is not None or not self._transcripts.may_guess:
            return
        piece = utterance.open
        new = self._position - max(piece.start, piece.guessed_until)
        if new >= GUESS_EVERY and utterance.settled_before_open and piece.voiced:
            piece.guessed_until = self._position
            self._transcripts.guess(utterance, self._audio.cut(piece.start, self._position))

    def _needed_from(self) -> int:
        if self._utterance is not None:
            return min(self._utterance.open.start, self._pauses.needed_from(self._position))
        padding = self._vad.prefix_padding_ms * RATE // 1000 if self._vad else 0
        return self._position - padding - ONSET_FRAMES * FRAME

    # --- ends of turns ---

    def pause_judged(self, pause: str, finished: bool) -> None:
        """Of a pause that is over nobody wants to know any more."""
        eagerness = self._pauses.answered(pause)
        if eagerness is None or self._utterance is None or self._silent_since is None or self._detector is None:
            return
        if finished:
            self._end(self._utterance, self._silent_since)
        else:
            self._detector.wait_for(eagerness.patient_ms)

    def commit(self) -> None:
        """End the turn here. Raises ProtocolError when there is nothing to commit."""
        utterance = self._utterance
        length = self._audio.end - utterance.start if utterance else 0
        if utterance is None or length < SHORTEST_COMMIT:
            what = "audio" if self._detector is None else "speech"
            raise ProtocolError(
                f"The input audio buffer holds {_ms(length)} ms of {what}: at least 100 ms are needed to commit it",
                code="input_audio_buffer_commit_empty",
            )
        self._end(utterance, self._audio.end)

    def finish(self) -> None:
        """Nothing more comes: what is being said is a turn."""
        if self._utterance is not None:
            self._end(self._utterance, self._audio.end)

    def clear(self) -> None:
        self._drop()
        self._audio.drop_before(self._audio.end)
        self._out.emit("input_audio_buffer.cleared")

    def _end(self, utterance: Utterance, at: int) -> None:
        if self._detector is not None:
            self._detector.reset()
            self._pauses.end()
            self._out.emit("input_audio_buffer.speech_stopped", audio_end_ms=_ms(at), item_id=utterance.item_id)
        if utterance.open.job is None:
            self._finish_piece(utterance, max(at, self._position))
        self._utterance, self._silent_since, self._free_from = None, None, at
        self._last, utterance.before = utterance, None  # its texts are asked for: no chain of all that was ever said
        self._commit(utterance)

    def time_out(self, start: int) -> None:
        """Nobody has spoken since the sample `start`: the silence is a turn without words."""
        utterance = Utterance(new_id("item"), start)
        self._out.emit(
            "input_audio_buffer.timeout_triggered",
            audio_start_ms=_ms(start),
            audio_end_ms=_ms(self._audio.end),
            item_id=utterance.item_id,
        )
        self._finish_piece(utterance, self._audio.end)
        self._commit(utterance)

    def _commit(self, utterance: Utterance) -> None:
        message = Message(id=utterance.item_id, role="user", content=[Part(type="input_audio")])
        previous = self._conversation.add(message)
        self._out.emit("input_audio_buffer.committed", previous_item_id=previous, item_id=utterance.item_id)
        self._out.emit("conversation.item.added", previous_item_id=previous, item=wire(message))
        self._transcripts.await_text(utterance, message, previous)

    def _finish_piece(self, utterance: Utterance, end: int) -> None:
        self._transcripts.finish(utterance, utterance.open, self._audio.cut(utterance.open.start, end))

    def _drop(self) -> None:
        if self._detector is not None:
            self._detector.reset()
            self._pauses.end()
        if self._utterance is not None:
            self._transcripts.drop(self._utterance)
        self._utterance, self._silent_since, self._last = None, None, None


def _ms(samples: int) -> int:
    return samples * 1000 // RATE
