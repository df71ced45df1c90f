"""Server-sent events: bytes -> events, and OpenAI's event streams -> the whole result they add up to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pybase64

from worker.plain import Base64, parse_json

# https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
EVENT_END = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_MAGIC = {b"RIFF": "audio/wav", b"fLaC": "audio/flac", b"OggS": "audio/opus", b"ID3": "audio/mpeg"}
_LINE_END = re.compile(r"\r\n|\n|\r")


@dataclass(frozen=True, slots=True)
class Event:
    name: str
    data: str

    def value(self) -> Any:
        """Its data as JSON; the text itself where it is none, like [DONE]."""
        try:
            return parse_json(self.data.encode(errors="replace"))
        except ValueError:
            return self.data


def parse_event(raw: bytes) -> Event | None:
    """One block of lines; None for a comment or keep-alive."""
    name, data = "", []
    for line in _LINE_END.split(raw.decode(errors="replace")):
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            data.append(value)
        elif field == "event":
            name = value
    return Event(name, "\n".join(data)) if data else None


def parse_events(raw: bytes) -> Iterator[Event]:
    return (event for block in EVENT_END.split(raw) if (event := parse_event(block)))


def whole_result(events: Iterable[Event]) -> Any | None:
    """The reply that the same request would have had without streaming; None for events of another kind."""
    try:
        return _whole_result(events)
    except (TypeError, AttributeError, ValueError):  # another server's events, that only look like OpenAI's
        return None


def _whole_result(events: Iterable[Event]) -> Any | None:
    values = [value for event in events if isinstance(value := event.value(), dict)]
    if chunks := [value for value in values if value.get("object") == "chat.completion.chunk"]:
        return _whole_completion(chunks)
    kinds = {value.get("type"): value for value in values}
    if done := kinds.get("transcript.text.done"):
        whole = {key: value for key, value in done.items() if key != "type" and value is not None}
        # Speaches' last event may hold no text: then the deltas are all of it.
        return whole if whole.get("text") else {**whole, "text": "".join(_deltas(values))}
    if "speech.audio.delta" in kinds or "speech.audio.done" in kinds:
        audio = [
            v["audio"] for v in values if v.get("type") == "speech.audio.delta" and isinstance(v.get("audio"), str)
        ]
        content = _joined(audio)
        return {"status": "success", "content_type": _audio_type(content), "audio_content": content}
    return None


def _deltas(values: list[dict[str, Any]]) -> Iterator[str]:
    for value in values:
        if value.get("type") == "transcript.text.delta" and isinstance(value.get("delta"), str):
            yield value["delta"]


def _joined(parts: list[str]) -> Base64:
    """Each part is base64 of its own, with its own padding."""
    return Base64(pybase64.b64encode(b"".join(pybase64.b64decode(part) for part in parts)).decode("ascii"))


def _audio_type(content: str) -> str:
    """These events do not say their format; its first bytes do. PCM has none."""
    start = pybase64.b64decode(content[:16])
    if start.startswith(b"\xff") and start[1:2] > b"\xe0":
        return "audio/aac" if start[1] & 0xF6 == 0xF0 else "audio/mpeg"
    return next((kind for magic, kind in _MAGIC.items() if start.startswith(magic)), "audio/pcm")


def _whole_completion(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    choices: dict[int, dict[str, Any]] = {}
    whole: dict[str, Any] = {}
    for chunk in chunks:
        whole |= {key: value for key, value in chunk.items() if key != "choices" and value is not None}
        for part in chunk.get("choices") or ():
            choice = choices.setdefault(part.get("index", 0), {"index": part.get("index", 0), "message": {}})
            _merge(choice["message"], part.get("delta") or {})
            if part.get("finish_reason"):
                choice["finish_reason"] = part["finish_reason"]
    for choice in choices.values():
        if audio := choice["message"].get("audio"):
            audio["data"] = _joined(audio.pop("data_parts", []))
    return {**whole, "object": "chat.completion", "choices": [choices[index] for index in sorted(choices)]}


def _merge(whole: dict[str, Any], delta: dict[str, Any]) -> None:
    """Text grows, objects merge, what has an index is merged with its own; everything else is the latest."""
    for key, value in delta.items():
        if value is None:
            continue
        if key == "data" and isinstance(value, str):
            whole.setdefault("data_parts", []).append(value)
        elif isinstance(value, str) and key not in ("id", "role", "type", "name"):
            whole[key] = whole.get(key, "") + value
        elif isinstance(value, dict):
            _merge(whole.setdefault(key, {}), value)
        elif isinstance(value, list):
            _merge_items(whole.setdefault(key, []), value)
        else:
            whole[key] = value


def _merge_items(whole: list[Any], items: list[Any]) -> None:
    for item in items:
        index = item.get("index") if isinstance(item, dict) else None
        known = next((one for one in whole if index is not None and one.get("index") == index), None)
        if known is None:
            whole.append(known := {}) if isinstance(item, dict) else whole.append(item)
        if isinstance(item, dict) and known is not None:
            _merge(known, item)
