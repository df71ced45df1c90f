"""The texts of turns: guesses while the person speaks, a final transcription per piece, and the events about them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from speech_server.domain import RATE, Samples
from speech_server.realtime.protocol.config import AudioInput
from speech_server.realtime.protocol.events import MAX_APPEND_BYTES, ProtocolError
from speech_server.realtime.protocol.items import Message, wire
from speech_server.realtime.protocol.outputs import (
    Outputs,
    StopWork,
    Transcribe,
    TranscribeUpload,
    Translate,
    Written,
    new_id,
)
from speech_server.realtime.state.people import People
from speech_server.realtime.state.translation import Translation
from speech_server.realtime.state.utterance import Stretch, Utterance
from speech_server.transcript.formats import languages, logprob_entries

# Characters of base64 that may wait for their text in one session: one message of OpenAI's largest size.
MAX_WAITING_AUDIO = MAX_APPEND_BYTES * 4 // 3 + 4
NOTHING = Written("", 0.0)
TRANSCRIPTION = "conversation.item.input_audio_transcription"  # how its events' names begin


@dataclass(frozen=True)
class Waiting:
    """A message whose text is not known yet. `audio`: characters of it that came with the message."""

    message: Message
    previous: str | None
    audio: int = 0


@dataclass(frozen=True)
class Hearing:
    utterance: Utterance
    piece: Stretch
    final: bool
    started: float


@dataclass
class Transcripts:
    """`_on_text` is told each message whose text has become known, or, with False, cannot. `logprobs`: whether they are
    shown; `translation`: in whose English the texts are."""

    settings: AudioInput
    _out: Outputs
    _clock: Callable[[], float]
    _on_text: Callable[[Message, bool], None]
    logprobs: bool
    translation: Translation | None
    _jobs: dict[int, Hearing] = field(default_factory=dict)
    _last_job: int = 0
    _guess: int | None = None
    _next_guess: float = 0.0
    _waiting: dict[str, Waiting] = field(default_factory=dict)  # committed, text not known yet
    _people: People = field(default_factory=People)

    @property
    def _shown(self) -> bool:
        return self.settings.transcription is not None or self.translation is not None

    @property
    def pending(self) -> int:
        return len(self._waiting)

    # --- starting and stopping ---

    @property
    def may_guess(self) -> bool:
        return self._shown and self._guess is None and self._clock() >= self._next_guess

    def guess(self, utterance: Utterance, samples: Samples) -> None:
        self._guess = self._transcribe(utterance, utterance.open, samples, final=False)

    def finish(self, utterance: Utterance, piece: Stretch, samples: Samples) -> None:
        """Start the final transcription of a piece; guesses at it are over."""
        self._stop_guess()
        if not piece.voiced:
            piece.job, piece.written = 0, NOTHING
            return
        piece.job = self._transcribe(utterance, piece, samples, final=True)

    def _transcribe(self, utterance: Utterance, piece: Stretch, samples: Samples, *, final: bool) -> int:
        job, before = self._new_job(utterance, piece, final=final), utterance.said_before(piece)
        if self.translation is not None:
            self._out.do(Translate(job, samples, self.translation.model, self.settings.transcription, final))
        elif final:
            self._out.do(Transcribe(job, samples, self.settings.spoken, True, self.logprobs, self._people.met, before))
        else:
            self._out.do(Transcribe(job, samples, self.settings.spoken, False, before=before))
        return job

    def check_room(self, audio: Sequence[str]) -> None:
        """Raises ProtocolError for more audio than may wait."""
        waiting = sum(waiting.audio for waiting in self._waiting.values())
        if audio and waiting + sum(map(len, audio)) > MAX_WAITING_AUDIO:
            raise ProtocolError(
                f"The audio that waits for its text would be larger than {MAX_APPEND_BYTES // 2**20} MiB: wait for "
                "conversation.item.input_audio_transcription.completed, and send less at once",
                code="audio_too_large",
                param="item",
            )

    def upload(self, message: Message, audio: tuple[str, ...], previous: str | None) -> None:
        """Transcribe audio that came as base64 inside a message."""
        assert message.id is not None
        # Where several parts have audio, the text of all stands in the first.
        part = next(index for index, part in enumerate(message.content) if part.type == "input_audio")
        utterance = Utterance(message.id, 0, part=part)
        utterance.open.job = self._new_job(utterance, utterance.open, final=True)
        self._waiting[message.id] = Waiting(message, previous, sum(map(len, audio)))
        work = TranscribeUpload(
            utterance.open.job, audio, self.settings.format, self.settings.spoken, self.logprobs, self._people.met
        )
        self._out.do(work)

    def reopen(self, piece: Stretch) -> None:
        """Speech went on: the piece is not final after all."""
        self._stop(piece.job)
        piece.job = piece.written = None

    def drop(self, utterance: Utterance) -> None:
        self._stop_guess()
        for piece in utterance.pieces:
            self.reopen(piece)
        if self.translation is not None:
            self.translation.end(utterance.item_id)

    def forget(self, item_id: str) -> None:
        """The item is deleted: nobody waits for its text any more."""
        if self._waiting.pop(item_id, None):
            for number in [number for number, job in self._jobs.items() if job.utterance.item_id == item_id]:
                self._stop(number)

    def _stop_guess(self) -> None:
        self._stop(self._guess)
        self._guess = None

    def _stop(self, number: int | None) -> None:
        if number is not None and self._jobs.pop(number, None) is not None:
            self._out.do(StopWork(number))

    def _new_job(self, utterance: Utterance, piece: Stretch, *, final: bool) -> int:
        self._last_job += 1
        self._jobs[self._last_job] = Hearing(utterance, piece, final, self._clock())
        return self._last_job

    # --- results ---

    def await_text(self, utterance: Utterance, message: Message, previous: str | None) -> None:
        """The turn is over and `message`, behind `previous`, stands for it: its text is due as soon as it is known."""
        self._waiting[utterance.item_id] = Waiting(message, previous)
        if self.translation is not None:
            self.translation.begin(utterance.item_id)
        self._settle(utterance)

    def done(self, number: int, written: Written) -> None:
        job = self._jobs.pop(number, None)
        if job is None:
            return  # stopped meanwhile
        if job.final:
            job.piece.written = written
            self._settle(job.utterance, written.seconds)
            return
        self._guess = None
        # At most four fifths of the time go into guessing, however slow the machine is.
        now = self._clock()
        self._next_guess = now + (now - job.started) / 4
        self._delta(job.utterance, job.piece, job.piece.deltas.guess(written.text))
        self._source_delta(job.utterance, job.piece, job.piece.source_deltas.guess(written.source))

    def failed(self, number: int, error: dict[str, Any]) -> None:
        job = self._jobs.pop(number, None)
        if job is None:
            return
        if not job.final:
            self._guess = None
            return  # the final transcription reports what is wrong
        job.piece.written = NOTHING
        job.utterance.error = error
        self._settle(job.utterance)

    def _settle(self, utterance: Utterance, seconds: float | None = None) -> None:
        self._finish_deltas(utterance)
        text = utterance.text
        if text is None or utterance.item_id not in self._waiting:
            return
        waiting = self._waiting.pop(utterance.item_id)
        message = waiting.message
        if utterance.error is None:
            message.content[utterance.part].transcript = text
        if self._shown:
            self._report(utterance, text, utterance.seconds or seconds or 0.0)
        self._out.emit("conversation.item.done", previous_item_id=waiting.previous, item=wire(message))
        if self.translation is not None:
            self.translation.end(utterance.item_id)
        self._on_text(message, utterance.error is None)

    def _report(self, utterance: Utterance, text: str, seconds: float) -> None:
        place = {"item_id": utterance.item_id, "content_index": utterance.part}
        if utterance.error is not None:
            self._out.emit(f"{TRANSCRIPTION}.failed", **place, error=utterance.error)
        else:
            self._tell_speakers(utterance, place)
            usage = {"type": "duration", "seconds": round(seconds, 3)}
            shown = {"languages": languages(utterance.language)}
            if self.logprobs:
                written = (piece.written for piece in utterance.pieces if piece.written)
                shown["logprobs"] = logprob_entries(entry for piece in written for entry in piece.logprobs)
            self._out.emit(f"{TRANSCRIPTION}.completed", **place, transcript=text, usage=usage, **shown)

    def _tell_speakers(self, utterance: Utterance, place: dict[str, Any]) -> None:
        """Who said what, in seconds of the item's audio."""
        for piece in utterance.pieces:
            if piece.written is None or (spoken := piece.written.spoken) is None:
                continue
            names = self._people.named(spoken)
            begin = (piece.start - utterance.start) / RATE
            for segment in spoken.segments:
                self._out.emit(
                    f"{TRANSCRIPTION}.segment",
                    **place,
                    id=new_id("seg"),
                    text=segment.text.strip(),
                    speaker=names.get(segment.speaker or "", self._people.latest),
                    start=round(begin + segment.start, 3),
                    end=round(begin + segment.end, 3),
                )

    def _finish_deltas(self, utterance: Utterance) -> None:
        """What the deltas still lack of every piece whose text is settled, in order."""
        committed = utterance.item_id in self._waiting
        for piece in utterance.pieces:
            if piece.written is None or (piece is utterance.open and not committed):
                return  # an open piece's text is thrown away when speech goes on
            if not piece.told:
                piece.told = True
                self._delta(utterance, piece, piece.deltas.finish(piece.written.text))
                self._source_delta(utterance, piece, piece.source_deltas.finish(piece.written.source))

    def _source_delta(self, utterance: Utterance, piece: Stretch, text: str) -> None:
        if self.translation is not None and self.settings.transcription is not None:
            self.translation.delta(utterance.item_id, "input", text, piece.end)

    def _delta(self, utterance: Utterance, piece: Stretch, text: str) -> None:
        if self.translation is not None:
            self.translation.delta(utterance.item_id, "output", text, piece.end)
            return
        if not utterance.begun:
            text = text.lstrip()
        if text and self.settings.transcription is not None:
            utterance.begun = True
            place = {"item_id": utterance.item_id, "content_index": utterance.part}
            self._out.emit(f"{TRANSCRIPTION}.delta", **place, delta=text)
