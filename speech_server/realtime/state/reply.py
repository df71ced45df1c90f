"""One response: what the language model says becomes items, parts and deltas, as OpenAI's events tell it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from speech_server.realtime.protocol.config import AudioOutput
from speech_server.realtime.protocol.items import FunctionCall, Message, Part, wire
from speech_server.realtime.protocol.outputs import Generate, Outputs, new_id
from speech_server.realtime.state.conversation import Conversation

Reason = Literal["turn_detected", "client_cancelled"]


@dataclass(frozen=True, slots=True)
class Spoken:
    """A sentence and the stretch of the reply's audio it takes."""

    text: str
    start_ms: float
    end_ms: float


@dataclass
class Reply:
    """A response in progress. `kept` is False for one outside the conversation (`conversation: none`)."""

    out: Outputs
    conversation: Conversation
    body: dict[str, Any]
    voice: AudioOutput | None
    kept: bool
    metadata: dict[str, str] | None
    id: str = field(default_factory=lambda: new_id("resp"))
    sentences: list[Spoken] = field(default_factory=list)
    _output: list[Message | FunctionCall] = field(default_factory=list)
    _message: Message | None = None
    _calls: dict[int, FunctionCall] = field(default_factory=dict)
    _before: dict[str | None, str | None] = field(default_factory=dict)  # the id before each item, when it was added

    @property
    def message_id(self) -> str | None:
        return self._message.id if self._message else None

    @property
    def audio_ms(self) -> float:
        """How much audio was sent."""
        return self.sentences[-1].end_ms if self.sentences else 0.0

    @property
    def _said(self) -> str:
        """The field of a part in which the words are."""
        return "transcript" if self.voice else "text"

    @property
    def _kind(self) -> str:
        return "response.output_audio_transcript" if self.voice else "response.output_text"

    # --- the response as a whole ---

    def describe(self, status: str, details: dict[str, Any] | None = None, usage: Any = None) -> dict[str, Any]:
        described = {
            "object": "realtime.response",
            "id": self.id,
            "status": status,
            "status_details": details,
            "output": [wire(item) for item in self._output],
            "conversation_id": "conv_default" if self.kept else None,
            "output_modalities": ["audio"] if self.voice else ["text"],
            "max_output_tokens": self.body.get("max_tokens", "inf"),
            "usage": usage,
            "metadata": self.metadata,
        }
        if self.voice:
            described["audio"] = {
                "output": {"voice": self.voice.voice, "format": self.voice.format.model_dump(exclude_none=True)}
            }
        return described

    def start(self) -> None:
        self.out.do(Generate(self.id, self.body, self.voice))

    def finish(self, status: str, details: dict[str, Any] | None = None, usage: Any = None) -> None:
        """Close every open item and the response."""
        complete = status == "completed"
        if self._message is not None:
            self._close_message(self._message, complete)
        for call in self._calls.values():
            self._close_call(call, complete)
        self.out.emit("response.done", response=self.describe(status, details, usage))

    # --- what it says ---

    def text(self, delta: str) -> None:
        message = self._message or self._open_message()
        part = message.content[0]
        setattr(part, self._said, part.words + delta)
        self.out.emit(f"{self._kind}.delta", **self._place(message), delta=delta)

    def audio(self, data: str, sentence: str, start_ms: float, end_ms: float) -> None:
        """Base64 audio of `sentence`, which so far covers start_ms..end_ms of the reply's audio."""
        message = self.spoke(sentence, start_ms, end_ms)
        self.out.emit("response.output_audio.delta", **self._place(message), delta=data)

    def spoke(self, sentence: str, start_ms: float, end_ms: float) -> Message:
        """The same of audio that goes another way than the events."""
        message = self._message or self._open_message()
        if self.sentences and self.sentences[-1].start_ms == start_ms:
            self.sentences.pop()
        self.sentences.append(Spoken(sentence, start_ms, end_ms))
        return message

    def call(self, index: int, call_id: str | None, name: str | None, arguments: str) -> None:
        """A piece of the model's `index`th function call; the id and name come with its first piece."""
        call = self._calls.get(index)
        if call is None:
            call = FunctionCall(
                type="function_call",
                id=new_id("item"),
                status="in_progress",
                call_id=call_id or new_id("call"),
                name=name or "",
                arguments="",
            )
            self._calls[index] = call
            self._add(call)
        call.arguments += arguments
        if arguments:
            self.out.emit(
                "response.function_call_arguments.delta",
                **self._item_place(call),
                call_id=call.call_id,
                delta=arguments,
            )

    def cut_to(self, spoken_ms: float) -> None:
        """Forget the words whose audio lies after `spoken_ms`: the person never heard them."""
        if self._message is not None and self.voice:
            self._message.content[0].transcript = heard_text(self.sentences, spoken_ms)

    # --- items ---

    def _open_message(self) -> Message:
        kind: Literal["output_audio", "output_text"] = "output_audio" if self.voice else "output_text"
        message = Message(id=new_id("item"), role="assistant", status="in_progress", content=[])
        self._message = message
        self._add(message)
        message.content.append(Part(type=kind, **{self._said: ""}))
        self.out.emit("response.content_part.added", **self._place(message), part=self._part(message))
        return message

    def _add(self, item: Message | FunctionCall) -> None:
        self._output.append(item)
        if self.kept:
            self._before[item.id] = self.conversation.add(item)
        self._tell("added", item)

    def _tell(self, what: Literal["added", "done"], item: Message | FunctionCall) -> None:
        place = {"response_id": self.id, "output_index": self._output.index(item)}
        self.out.emit(f"response.output_item.{what}", **place, item=wire(item))
        if self.kept:
            self.out.emit(f"conversation.item.{what}", previous_item_id=self._before.get(item.id), item=wire(item))

    def _close_message(self, message: Message, complete: bool) -> None:
        place = self._place(message)
        if self.voice:
            self.out.emit("response.output_audio.done", **place)
        self.out.emit(f"{self._kind}.done", **place, **{self._said: message.words})
        self.out.emit("response.content_part.done", **place, part=self._part(message))
        self._close(message, complete)

    def _close_call(self, call: FunctionCall, complete: bool) -> None:
        self.out.emit(
            "response.function_call_arguments.done",
            **self._item_place(call),
            call_id=call.call_id,
            name=call.name,
            arguments=call.arguments,
        )
        self._close(call, complete)

    def _close(self, item: Message | FunctionCall, complete: bool) -> None:
        item.status = "completed" if complete else "incomplete"
        self._tell("done", item)

    def _part(self, message: Message) -> dict[str, Any]:
        return {"type": "audio" if self.voice else "text", self._said: message.words}

    def _item_place(self, item: Message | FunctionCall) -> dict[str, Any]:
        return {"response_id": self.id, "item_id": item.id, "output_index": self._output.index(item)}

    def _place(self, message: Message) -> dict[str, Any]:
        return self._item_place(message) | {"content_index": 0}


def heard_text(sentences: list[Spoken], until_ms: float) -> str:
    """The words spoken before `until_ms`; of a sentence cut in the middle, the share of its words that was."""
    parts = []
    for spoken in sentences:
        if spoken.end_ms <= until_ms:
            parts.append(spoken.text)
        elif spoken.start_ms < until_ms:
            share = (until_ms - spoken.start_ms) / (spoken.end_ms - spoken.start_ms)
            words = spoken.text.split()
            parts.append(" ".join(words[: int(len(words) * share)]))
    return " ".join(part.strip() for part in parts if part.strip())
