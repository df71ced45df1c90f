"""Client events: what a client may send, read strictly; a bad one is a ProtocolError, never a closed socket.

The models are our own and small: importing `openai.types.realtime` takes 1.8 s. The tests hold them, and every
server event, against the openai package's models.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, TypeAdapter, ValidationError

from speech_server.errors import InvalidRequest
from speech_server.realtime.protocol.config import Audio, Modality, Reasoning, StoredPrompt, Tool, ToolChoice
from speech_server.realtime.protocol.dialect import ga_patch
from speech_server.realtime.protocol.items import Item, ItemReference
from speech_server.text.json_values import check

# Python's reader of JSON holds everything else up while it works: a message of audio is one value, and read at once.
MAX_APPEND_BYTES = 15 * 1024 * 1024  # OpenAI's limit for one append event
MOST_VALUES = 100_000
LARGEST = 1 << 20  # characters of an event without audio: what a session may keep of it
WITH_AUDIO = (
    "input_audio_buffer.append",
    "session.input_audio_buffer.append",
    "conversation.item.create",
    "response.create",
)


class ProtocolError(InvalidRequest):
    """Becomes an `error` event. `event_id` is the client's, when it sent one."""

    def __init__(self, message: str, *, code: str, param: str | None = None, event_id: str | None = None) -> None:
        super().__init__(message, param=param, code=code)
        self.event_id = event_id


class ClientEvent(BaseModel, frozen=True):
    event_id: Annotated[str, Field(max_length=512)] | None = None


class SessionUpdate(ClientEvent):
    type: Literal["session.update", "transcription_session.update"]
    session: dict[str, Any]


class Append(ClientEvent):
    type: Literal["input_audio_buffer.append", "session.input_audio_buffer.append"]  # the latter of a translation
    audio: str


class Commit(ClientEvent):
    type: Literal["input_audio_buffer.commit"]


class Clear(ClientEvent):
    type: Literal["input_audio_buffer.clear"]


class Close(ClientEvent):
    """Of a translation: what was heard is still translated, then the session ends."""

    type: Literal["session.close"]


class ItemCreate(ClientEvent):
    type: Literal["conversation.item.create"]
    previous_item_id: str | None = None
    item: Item


class ItemRetrieve(ClientEvent):
    type: Literal["conversation.item.retrieve"]
    item_id: str


class ItemTruncate(ClientEvent):
    type: Literal["conversation.item.truncate"]
    item_id: str
    content_index: int = Field(0, ge=0)
    audio_end_ms: int = Field(ge=0)


class ItemDelete(ClientEvent):
    type: Literal["conversation.item.delete"]
    item_id: str


class ResponseParams(BaseModel, frozen=True):
    """What one response does differently from the session."""

    conversation: Literal["auto", "none"] = "auto"
    instructions: str | None = None
    output_modalities: tuple[Modality, ...] | None = Field(None, min_length=1)
    audio: Audio | None = None
    tools: tuple[Tool, ...] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    reasoning: Reasoning | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    max_output_tokens: Annotated[int, Field(ge=1)] | Literal["inf"] | None = None
    input: tuple[Annotated[Item | ItemReference, Field(discriminator="type")], ...] | None = None
    metadata: dict[str, str] | None = None
    prompt: StoredPrompt = None


def _in_ga(response: object) -> dict[str, Any]:
    """null: as if it were not there."""
    return ga_patch(response) if isinstance(response, dict) else {}


class ResponseCreate(ClientEvent):
    type: Literal["response.create"]
    response: Annotated[ResponseParams, BeforeValidator(_in_ga)] = ResponseParams()


class ResponseCancel(ClientEvent):
    type: Literal["response.cancel"]
    response_id: str | None = None


class OutputClear(ClientEvent):
    type: Literal["output_audio_buffer.clear"]


AnyClientEvent = (
    SessionUpdate
    | Append
    | Commit
    | Clear
    | Close
    | ItemCreate
    | ItemRetrieve
    | ItemTruncate
    | ItemDelete
    | ResponseCreate
    | ResponseCancel
    | OutputClear
)
_ADAPTER: TypeAdapter[AnyClientEvent] = TypeAdapter(Annotated[AnyClientEvent, Field(discriminator="type")])


def parse_client_event(text: str | bytes) -> AnyClientEvent:
    """Raises ProtocolError, naming the first field that is wrong."""
    if (text.count(",") if isinstance(text, str) else text.count(b",")) > MOST_VALUES:
        raise ProtocolError(f"The message has more than {MOST_VALUES} values", code="event_too_large")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        raise ProtocolError(
            "The message is not valid JSON: send one JSON object per message", code="invalid_json"
        ) from None
    if not isinstance(data, dict):
        raise ProtocolError("The message is not a JSON object", code="invalid_json")
    try:
        check(data)
    except ValueError as error:
        raise ProtocolError(f"The message cannot be used: {error}", code="invalid_json") from None
    event_id = data.get("event_id") if isinstance(data.get("event_id"), str) else None
    if not isinstance(data.get("type"), str):
        raise ProtocolError("Missing required field 'type'", code="missing_type", param="type", event_id=event_id)
    if len(text) > LARGEST and data["type"] not in WITH_AUDIO:
        raise ProtocolError(
            f"The message is larger than {LARGEST // 2**20} MiB", code="event_too_large", event_id=event_id
        )
    try:
        return _ADAPTER.validate_python(data)
    except ValidationError as error:
        raise invalid(error, event_id, data["type"]) from None


def invalid(error: ValidationError, event_id: str | None, kind: str) -> ProtocolError:
    """The first complaint of a validation, in a client's words."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    if first["type"] == "union_tag_invalid" and not first["loc"]:
        return ProtocolError(
            f"Unknown event type '{kind[:100]}'", code="unknown_event", param="type", event_id=event_id
        )
    # The tags of the unions above stand in the path, but in no message of the client's.
    path = ".".join(str(step) for step in first["loc"] if step != kind)
    return ProtocolError(
        f"Invalid {kind[:100]}: {path + ': ' if path else ''}{first['msg']}",
        code="invalid_value",
        param=path,
        event_id=event_id,
    )
