"""What sounds of the answers, and how long it has been silent since. Pure; the clock is passed in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from speech_server.realtime.protocol.outputs import Hush, Outputs, Play
from speech_server.realtime.state.replies import Replies
from speech_server.realtime.state.reply import Reply


@dataclass
class Idle:
    """How long nobody has said anything since the last answer was heard to its end."""

    _clock: Callable[[], float]
    _played_until: float = 0.0
    _answered: bool = False
    _since: float | None = None
    position: int = 0  # of the audio, in samples, when the silence began

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


@dataclass
class Playback:
    """`here`: whether it is the server that plays, as in a call. OpenAI's `output_audio_buffer` events tell of it, and
    an answer that is interrupted has said what had sounded by then. Where it is the client, nothing sounds here.
    """

    _out: Outputs
    _clock: Callable[[], float]
    _replies: Replies
    here: bool
    _reply: Reply | None = None  # the one that sounds
    _until: float = 0.0  # when all that was given to the player will have sounded
    _whole: bool = False  # no more of it comes

    def play(self, reply: Reply, data: str, sentence: str, start_ms: float, end_ms: float) -> None:
        seconds = (end_ms - reply.audio_ms) / 1000
        reply.spoke(sentence, start_ms, end_ms)
        if self._reply is not reply:
            self._stop()
            self._reply, self._whole = reply, False
            self._out.emit("output_audio_buffer.started", response_id=reply.id)
        assert reply.voice is not None
        self._until = max(self._until, self._clock()) + seconds
        self._out.do(Play(data, reply.voice.format))

    def finish(self) -> None:
        """The response that sounds is over: what was given to the player is all of it."""
        self._whole = True

    @property
    def due(self) -> float | None:
        return self._until if self._reply is not None and self._whole else None

    def tick(self) -> None:
        if self.due is not None and self._until <= self._clock():
            self._stop()

    def _stop(self) -> None:
        if self._reply is not None:
            self._out.emit("output_audio_buffer.stopped", response_id=self._reply.id)
            self._reply = None

    # --- the client's commands ---

    def cancel(self, response_id: str | None) -> None:
        """Raises ProtocolError when that response neither is under way nor sounds."""
        if self._reply is None or self._replies.active:
            self._replies.cancel_asked(response_id)
        self.hush()

    def clear(self) -> None:
        """Raises ProtocolError when there never was a response."""
        if self._reply is None:
            self._replies.clear_output()
        else:
            self._replies.cancel("client_cancelled")
            self.hush()

    def hush(self) -> None:
        """Silence at once. Of a response that was over, too, only what has sounded was said."""
        reply, self._reply = self._reply, None
        if reply is None:
            return
        unheard = max(0.0, self._until - self._clock()) * 1000
        self._until = 0.0
        self._out.do(Hush())
        self._out.emit("output_audio_buffer.cleared", response_id=reply.id)
        if reply.kept and reply.message_id is not None:
            self._replies.truncate(reply.message_id, 0, int(max(0.0, reply.audio_ms - unheard)))
