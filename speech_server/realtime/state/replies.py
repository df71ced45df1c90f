"""Which response is under way: one at a time, begun when all it needs to know is transcribed, ended for a reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from speech_server.realtime.protocol.config import AudioOutput, SessionConfig
from speech_server.realtime.protocol.events import ProtocolError, ResponseParams
from speech_server.realtime.protocol.items import AnyItem, ItemReference, Message, chat_messages
from speech_server.realtime.protocol.outputs import Outputs, StopWork
from speech_server.realtime.state.conversation import Conversation, check_size
from speech_server.realtime.state.reply import Reason, Reply, heard_text

SILENCE = "(silence)"
# What a response may set for itself, by the names it has in the session.
SETTABLE = frozenset(
    ("instructions", "temperature", "max_output_tokens", "reasoning", "tools", "tool_choice", "parallel_tool_calls")
)
REMEMBERED = 32  # replies whose audio can still be truncated


@dataclass
class Replies:
    """`_sessions`: how many the server has open, of `_max_sessions`; `_on_end` is told how each response ended."""

    config: SessionConfig
    _out: Outputs
    _conversation: Conversation
    _max_sessions: int
    _sessions: Callable[[], int]
    _on_end: Callable[[str], None]
    _active: Reply | None = None
    _started: bool = False
    _silence: bool = False
    _params: ResponseParams = field(default_factory=ResponseParams)
    _input: list[AnyItem] | None = None  # what the model reads instead of the conversation
    _spoken: dict[str, Reply] = field(default_factory=dict)  # by message id
    _last_id: str | None = None

    @property
    def active(self) -> bool:
        return self._active is not None

    # --- beginning ---

    def create(self, params: ResponseParams, *, silence: bool = False) -> None:
        """Raises ProtocolError when one is under way. `silence`: it answers that nobody says anything."""
        if self._active is not None:
            raise ProtocolError(
                f"The response {self._active.id} is still under way: cancel it or wait for response.done",
                code="conversation_already_has_active_response",
            )
        if self.config.type == "transcription":
            raise ProtocolError("A transcription session gives no responses", code="invalid_session_type")
        self._input = None if params.input is None else self._read_from(params.input)
        speaks = "audio" in (params.output_modalities or self.config.output_modalities)
        self._params, self._started, self._silence = params, False, silence
        reply = Reply(
            self._out, self._conversation, {}, self._voice(params) if speaks else None, params.conversation == "auto",
            params.metadata,
        )  # fmt: skip
        self._active, self._last_id = reply, reply.id
        self._out.emit("response.created", response=reply.describe("in_progress"))
        limit = {"name": "requests", "limit": self._max_sessions, "remaining": self._max_sessions - self._sessions()}
        self._out.emit("rate_limits.updated", rate_limits=[limit | {"reset_seconds": 0.0}])

    def _read_from(self, given: Sequence[AnyItem | ItemReference]) -> list[AnyItem]:
        """References become the items they name, whose texts are read when all is transcribed."""
        items = [self._conversation.get(item.id) if isinstance(item, ItemReference) else item for item in given]
        for item in items:
            if isinstance(item, Message):
                item.take_audio()  # the language model reads text
        check_size(items, "response.input")
        return items

    def proceed(self) -> None:
        """Everything said so far is transcribed: the language model can be asked."""
        if self._active is not None and not self._started:
            self._started = True
            self._active.body = self._body()
            self._active.start()

    def _voice(self, params: ResponseParams) -> AudioOutput:
        output = self.config.audio.output
        given = params.audio.output.model_dump(exclude_unset=True) if params.audio else {}
        return output.model_validate(output.model_dump() | given)

    def _body(self) -> dict[str, Any]:
        items = list(self._conversation) if self._input is None else self._input
        given = {name: value for name, value in self._params if name in SETTABLE and value is not None}
        config = self.config.model_copy(update=given)
        messages = chat_messages(items, config.instructions)
        if self._silence:  # many models go on with their own last words when nobody answers them
            messages.append({"role": "user", "content": SILENCE})
        body: dict[str, Any] = {"model": config.model, "messages": messages, "stream": True}
        if config.temperature is not None:
            body["temperature"] = config.temperature
        if config.max_output_tokens != "inf":
            body["max_tokens"] = config.max_output_tokens
        if config.reasoning is not None and config.reasoning.effort:
            body["reasoning_effort"] = config.reasoning.effort
        if config.tools:
            body["tools"] = [
                {"type": "function", "function": tool.model_dump(exclude={"type"}, exclude_none=True)}
                for tool in config.tools
            ]
            body["tool_choice"] = _chat_tool_choice(config.tool_choice)
            if config.parallel_tool_calls is not None:
                body["parallel_tool_calls"] = config.parallel_tool_calls
        return body

    # --- what the engines answer ---

    def get(self, response_id: str) -> Reply | None:
        """The reply if it is still under way; what comes late is for nobody."""
        return self._active if self._active and self._active.id == response_id else None

    def end(self, status: str, details: dict[str, Any] | None, usage: dict[str, Any] | None) -> None:
        reply, self._active = self._active, None
        if reply is None:
            return
        reply.finish(status, details, usage)
        self._on_end(status)
        if reply.message_id is not None and reply.kept and reply.voice:
            self._spoken[reply.message_id] = reply
            while len(self._spoken) > REMEMBERED:
                del self._spoken[next(iter(self._spoken))]

    # --- the client's commands ---

    def cancel(self, reason: Reason) -> None:
        """Stop what is under way, if anything is; the conversation keeps what was sent of it."""
        reply = self._active
        if reply is None:
            return
        self._out.do(StopWork(reply.id))
        reply.cut_to(reply.audio_ms)
        self.end("cancelled", {"type": "cancelled", "reason": reason}, None)

    def cancel_asked(self, response_id: str | None) -> None:
        """Raises ProtocolError when that response is not under way."""
        if self._active is None or response_id not in (None, self._active.id):
            raise ProtocolError("There is no such response under way", code="response_cancel_not_active")
        self.cancel("client_cancelled")

    def clear_output(self) -> None:
        """Raises ProtocolError when there never was a response."""
        if self._last_id is None:
            raise ProtocolError("There is no audio to clear", code="output_audio_buffer_empty")
        self.cancel("client_cancelled")
        self._out.emit("output_audio_buffer.cleared", response_id=self._last_id)

    def truncate(self, item_id: str, content_index: int, audio_end_ms: int) -> None:
        """Keep only what was heard of a spoken reply. Raises ProtocolError for anything else."""
        item = self._conversation.get(item_id)
        if self._active is not None and self._active.message_id == item_id:
            self.cancel("client_cancelled")
        reply = self._spoken.get(item_id)
        if reply is None or not isinstance(item, Message) or content_index != 0:
            raise ProtocolError("Only the audio of the assistant's messages can be truncated", code="not_truncatable")
        if audio_end_ms > reply.audio_ms:
            raise ProtocolError(
                f"The audio of {item_id} is {reply.audio_ms:.0f} ms long: it cannot be cut at {audio_end_ms} ms",
                code="invalid_value",
                param="audio_end_ms",
            )
        item.content[0].transcript = heard_text(reply.sentences, audio_end_ms)
        place = {"item_id": item_id, "content_index": content_index}
        self._out.emit("conversation.item.truncated", **place, audio_end_ms=audio_end_ms)


def _chat_tool_choice(choice: str | Mapping[str, Any]) -> str | dict[str, Any]:
    """Realtime names a forced function flat, chat completions inside `function`."""
    if isinstance(choice, str):
        return choice
    if "name" in choice:
        return {"type": "function", "function": {"name": choice["name"]}}
    return dict(choice)
