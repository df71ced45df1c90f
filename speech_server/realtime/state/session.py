"""One realtime session as a state machine without a socket: events in, events and work for the engines out.

The driver (live.py) calls `receive` with what the client sent, `hear` with what the ear made of its audio, and the
`transcribed` and `reply_*` methods with what the engines answered; after each call it takes `outputs`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

from speech_server.realtime.protocol import events
from speech_server.realtime.protocol.config import SessionConfig
from speech_server.realtime.protocol.dialect import beta_event, is_beta_session
from speech_server.realtime.protocol.events import AnyClientEvent, ProtocolError
from speech_server.realtime.protocol.items import Message, wire
from speech_server.realtime.protocol.outputs import ListenFor, Outputs, Pronounce, Work, Written, new_id
from speech_server.realtime.protocol.translation import translation_event
from speech_server.realtime.protocol.updates import updated
from speech_server.realtime.state.conversation import Conversation
from speech_server.realtime.state.listening import Heard, Listener
from speech_server.realtime.state.playback import Idle, Playback
from speech_server.realtime.state.replies import Replies
from speech_server.realtime.state.reply import Reply
from speech_server.realtime.state.transcripts import Transcripts
from speech_server.realtime.state.translation import Translation

ALL_BUT_CLOSE = tuple(kind for kind in get_args(AnyClientEvent) if kind is not events.Close)


class Session:
    """`clock` gives seconds since 1970; `sessions`, how many the server has open, of at most `max_sessions`. `plays`:
    the server plays the answers itself, in a call."""

    def __init__(
        self,
        config: SessionConfig,
        clock: Callable[[], float],
        *,
        beta: bool = False,
        plays: bool = False,
        lifetime: float = 3600,
        longest_turn: float = 300,
        max_sessions: int = 64,
        sessions: Callable[[], int] = lambda: 1,
    ) -> None:
        self.config = config
        self._beta = beta
        self._id = new_id("sess")
        self._expires_at = int(clock() + lifetime)
        self._out = Outputs()
        self._conversation = Conversation()
        self._clock = clock
        self._idle = Idle(clock)
        self._replies = Replies(config, self._out, self._conversation, max_sessions, sessions, self._on_reply_end)
        self._playback = Playback(self._out, clock, self._replies, plays)
        self._translation = Translation(config, self._out) if config.translator else None
        self._transcripts = Transcripts(
            config.audio.input, self._out, clock, self._on_text, config.shows_logprobs, self._translation
        )
        self._closing = self.closed = False
        self._listener = Listener(
            config.audio.input, self._out, self._conversation, self._transcripts, longest_turn, self._on_speech
        )
        self._out.emit("session.created", session=self._describe())

    # --- outputs ---

    def take_events(self) -> list[dict[str, Any]]:
        """The events for the client since the last call, in the protocol the client speaks."""
        taken, self._out.events = self._out.events, []
        if self._translation is None and not self._beta:
            return taken
        known = translation_event if self._translation else beta_event
        return [event for event in map(known, taken) if event is not None]

    def take_work(self) -> list[Work]:
        taken, self._out.work = self._out.work, []
        return taken

    @property
    def pending(self) -> int:
        """Turns to be transcribed, sentences to be spoken: while there are many, no more audio should be read."""
        return self._transcripts.pending + (self._translation.unspoken if self._translation else 0)

    # --- inputs ---

    def hear(self, heard: Heard) -> None:
        for error in heard.refused:
            self._out.refuse(error)
        if self._closing:
            return
        self._listener.hear(heard)
        self._idle.hear(self._listener.heard)
        self._proceed()

    @property
    def due(self) -> float | None:
        """When `tick` has something to do, on the session's clock."""
        return min((due for due in (self._silence_due, self._playback.due) if due is not None), default=None)

    @property
    def _silence_due(self) -> float | None:
        vad = self.config.audio.input.vad
        if self.config.type == "transcription" or vad is None or vad.idle_timeout_ms is None:
            return None
        busy = self._replies.active or self._listener.speaking or self.pending
        return None if busy else self._idle.due(vad.idle_timeout_ms)

    def tick(self) -> None:
        """After too long a silence it is the language model's turn again."""
        self._playback.tick()
        if (due := self._silence_due) is None or due > self._clock():
            return
        self._idle.end()
        self._listener.time_out(self._idle.position)
        vad = self.config.audio.input.vad
        if vad is not None and vad.create_response:
            self._replies.create(events.ResponseParams(), silence=True)
        self._proceed()

    def refuse(self, error: ProtocolError) -> None:
        self._out.refuse(error)

    def receive(self, event: AnyClientEvent) -> None:
        """Any client event but an append, whose audio comes through `hear`."""
        try:
            self._obey(event)
        except ProtocolError as error:
            error.event_id = event.event_id
            self._out.refuse(error)
        self._proceed()

    def transcribed(self, job: int, written: Written) -> None:
        self._transcripts.done(job, written)
        self._proceed()

    def transcription_failed(self, job: int, error: dict[str, Any]) -> None:
        self._transcripts.failed(job, error)
        self._proceed()

    def pause_judged(self, pause: str, finished: bool) -> None:
        self._listener.pause_judged(pause, finished)
        self._proceed()

    def reply_text(self, response_id: str, delta: str) -> None:
        if reply := self._replies.get(response_id):
            reply.text(delta)

    def reply_audio(self, response_id: str, data: str, sentence: str, start_ms: float, end_ms: float) -> None:
        if reply := self._replies.get(response_id):
            self._idle.play((end_ms - reply.audio_ms) / 1000)
            give = self._playback.play if self._playback.here else Reply.audio
            give(reply, data, sentence, start_ms, end_ms)

    def reply_call(self, response_id: str, index: int, call_id: str | None, name: str | None, arguments: str) -> None:
        if reply := self._replies.get(response_id):
            reply.call(index, call_id, name, arguments)

    def reply_done(self, response_id: str, finish_reason: str | None, usage: dict[str, Any] | None) -> None:
        if self._replies.get(response_id) is None:
            return
        reasons = {"length": "max_output_tokens", "content_filter": "content_filter"}
        if reason := reasons.get(finish_reason or ""):
            self._replies.end("incomplete", {"type": "incomplete", "reason": reason}, usage)
        else:
            self._replies.end("completed", None, usage)

    def reply_failed(self, response_id: str, error: dict[str, Any]) -> None:
        if self._replies.get(response_id) is not None:
            short = {"type": error["type"], "code": error.get("code")}
            self._replies.end("failed", {"type": "failed", "error": short}, None)
            self._out.emit("error", error=error)

    def pronouncing(self, work: Pronounce, data: str) -> None:
        if self._translation is not None:
            self._translation.pronouncing(work, data)

    def pronounced(self, error: dict[str, Any] | None = None) -> None:
        """All of it, or with an error: no more of it."""
        if error is not None:
            self._out.emit("error", error=error)
        if self._translation is not None:
            self._translation.pronounced()
        self._proceed()

    # --- what follows from what ---

    def _proceed(self) -> None:
        if self._closing and not self.closed and self.pending == 0:
            self.closed = True
            self._out.emit("session.closed")
        if self._transcripts.pending == 0:
            self._replies.proceed()

    def _on_reply_end(self, status: str) -> None:
        self._playback.finish()
        if status in ("completed", "incomplete"):
            self._idle.begin(self._listener.heard)
        else:
            self._idle.end()

    def _on_speech(self) -> None:
        self._idle.end()
        vad = self.config.audio.input.vad
        if vad is not None and vad.interrupt_response:
            self._replies.cancel("turn_detected")
            self._playback.hush()

    def _on_text(self, message: Message, understood: bool) -> None:
        """A turn's text is known: answer it, unless it was no words, or the person speaks on, or chose otherwise."""
        vad = self.config.audio.input.vad
        answers = self.config.type == "realtime" and vad is not None and vad.create_response
        idle = not self._replies.active and not self._listener.speaking
        if answers and idle and understood and message.words:
            self._replies.create(events.ResponseParams())
        elif idle:
            self._idle.go_on(self._listener.heard)

    # --- client events ---

    def _obey(self, event: AnyClientEvent) -> None:
        taken = (events.SessionUpdate, events.Close) if self._translation else ALL_BUT_CLOSE
        if not isinstance(event, taken):
            message = f"A {self.config.type} session takes no {event.type}"
            raise ProtocolError(message, code="unknown_event", param="type")
        match event:
            case events.Close():
                self._closing = True
                self._listener.finish()
            case events.SessionUpdate():
                self._update(event)
            case events.Commit():
                self._listener.commit()
            case events.Clear():
                self._listener.clear()
            case events.ItemCreate():
                self._create_item(event)
            case events.ItemRetrieve():
                self._out.emit("conversation.item.retrieved", item=wire(self._conversation.get(event.item_id)))
            case events.ItemTruncate():
                self._replies.truncate(event.item_id, event.content_index, event.audio_end_ms)
            case events.ItemDelete():
                self._conversation.delete(event.item_id)
                self._transcripts.forget(event.item_id)
                self._out.emit("conversation.item.deleted", item_id=event.item_id)
            case events.ResponseCreate():
                self._replies.create(event.response)
            case events.ResponseCancel():
                self._playback.cancel(event.response_id)
            case events.OutputClear():
                self._playback.clear()

    def _update(self, event: events.SessionUpdate) -> None:
        self._beta = self._beta or event.type.startswith("transcription_session") or is_beta_session(event.session)
        before, self.config = self.config, updated(self.config, event)
        config = self.config
        self._replies.config = config
        self._transcripts.logprobs = config.shows_logprobs
        self._listener.configure(config.audio.input)
        if self._translation is not None:
            self._translation.configure(config)
        if config.audio.input.format != before.audio.input.format:
            self._out.do(ListenFor(config.audio.input.format))
        kind = "transcription_session.updated" if event.type.startswith("transcription") else "session.updated"
        self._out.emit(kind, session=self._describe())

    def _create_item(self, event: events.ItemCreate) -> None:
        item = event.item.model_copy(deep=True)
        item.id = item.id or new_id("item")
        item.status = "completed"
        audio = item.take_audio() if isinstance(item, Message) else ()
        self._transcripts.check_room(audio)
        previous = self._conversation.add(item, event.previous_item_id)
        self._out.emit("conversation.item.added", previous_item_id=previous, item=wire(item))
        if isinstance(item, Message) and audio:
            self._transcripts.upload(item, audio, previous)
        else:
            self._out.emit("conversation.item.done", previous_item_id=previous, item=wire(item))

    def _describe(self) -> dict[str, Any]:
        return self.config.describe(self._id, self._expires_at)
