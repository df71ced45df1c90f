"""Items of a conversation: messages and function calls, as clients send them and as the server keeps them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, model_validator

Status = Literal["in_progress", "completed", "incomplete"]
ItemId = Annotated[str, Field(min_length=1, max_length=64)]
# The beta protocol's names of an assistant's content.
_OLD_NAMES = {"text": "output_text", "audio": "output_audio"}


class Part(BaseModel):
    """One piece of a message's content. `audio` is base64 in the session's input format, on its way in only."""

    type: Literal["input_text", "input_audio", "input_image", "output_text", "output_audio"]
    text: str | None = None
    transcript: str | None = None
    audio: str | None = None
    image_url: str | None = None
    detail: Literal["auto", "low", "high"] | None = None  # of the image

    @property
    def words(self) -> str:
        return self.text if self.text is not None else self.transcript or ""


class Kept(BaseModel):
    """What all items have."""

    id: ItemId | None = None
    object: Literal["realtime.item"] = "realtime.item"
    status: Status = "completed"


class Message(Kept):
    type: Literal["message"] = "message"
    role: Literal["system", "user", "assistant"]
    content: list[Part]

    @model_validator(mode="before")
    @classmethod
    def _rename(cls, data: Any) -> Any:
        """`text` and `audio`, the beta names, are an assistant's output or, from anyone else, input_text."""
        if not isinstance(data, dict) or not isinstance(data.get("content"), list):
            return data
        names = _OLD_NAMES if data.get("role") == "assistant" else {"text": "input_text"}
        parts = [
            part | {"type": names.get(str(part.get("type")), part.get("type"))} if isinstance(part, dict) else part
            for part in data["content"]
        ]
        return data | {"content": parts}

    @property
    def words(self) -> str:
        return " ".join(part.words for part in self.content if part.words)

    def take_audio(self) -> tuple[str, ...]:
        """What is to be transcribed, and out of the message with it, as with any other audio."""
        audio = tuple(part.audio for part in self.content if part.audio and part.type == "input_audio")
        for part in self.content:
            part.audio = None
        return audio


class FunctionCall(Kept):
    type: Literal["function_call"]
    call_id: str | None = None
    name: str
    arguments: str


class FunctionCallOutput(Kept):
    type: Literal["function_call_output"]
    call_id: str
    output: str


class ItemReference(BaseModel):
    """An item of the conversation, named by its id in a response's `input`."""

    type: Literal["item_reference"]
    id: ItemId


AnyItem = Message | FunctionCall | FunctionCallOutput
Item = Annotated[AnyItem, Field(discriminator="type")]


def wire(item: AnyItem) -> dict[str, Any]:
    """The item as events carry it: without the audio, which is not kept."""
    return item.model_dump(exclude_none=True, exclude={"content": {"__all__": {"audio"}}})


def chat_messages(items: Sequence[AnyItem], instructions: str) -> list[dict[str, Any]]:
    """The conversation as a chat completion's `messages`."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": instructions}] if instructions else []
    for item in items:
        if isinstance(item, FunctionCallOutput):
            messages.append({"role": "tool", "tool_call_id": item.call_id, "content": item.output})
        elif isinstance(item, FunctionCall):
            call = {"name": item.name, "arguments": item.arguments}
            entry = {"id": item.call_id or item.id, "type": "function", "function": call}
            if messages and messages[-1]["role"] == "assistant":
                messages[-1].setdefault("tool_calls", []).append(entry)
            else:
                messages.append({"role": "assistant", "content": None, "tool_calls": [entry]})
        elif content := _chat_content(item):
            messages.append({"role": item.role, "content": content})
    return messages


def _chat_content(message: Message) -> str | list[dict[str, Any]]:
    if not any(part.image_url for part in message.content):
        return message.words
    return [
        {"type": "image_url", "image_url": {"url": part.image_url} | ({"detail": part.detail} if part.detail else {})}
        if part.image_url
        else {"type": "text", "text": part.words}
        for part in message.content
        if part.image_url or part.words
    ]
