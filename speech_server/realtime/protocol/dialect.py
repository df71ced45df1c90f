"""The older beta protocol: its session shape in, its event names and shapes out. Inside, all is GA."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FORMATS: dict[str, dict[str, Any]] = {
    "pcm16": {"type": "audio/pcm", "rate": 24_000},
    "g711_ulaw": {"type": "audio/pcmu"},
    "g711_alaw": {"type": "audio/pcma"},
}
_BETA_FORMATS = {ga["type"]: beta for beta, ga in FORMATS.items()}

# Fields of the flat beta session and where they live in the GA one.
_FIELDS: dict[str, tuple[str, ...]] = {
    "input_audio_format": ("audio", "input", "format"),
    "input_audio_transcription": ("audio", "input", "transcription"),
    "input_audio_noise_reduction": ("audio", "input", "noise_reduction"),
    "turn_detection": ("audio", "input", "turn_detection"),
    "output_audio_format": ("audio", "output", "format"),
    "voice": ("audio", "output", "voice"),
    "speed": ("audio", "output", "speed"),
    "speech_model": ("audio", "output", "model"),
    "modalities": ("output_modalities",),
    "max_response_output_tokens": ("max_output_tokens",),
}
# What a client that echoes the session object back sends along; none of it can be set.
_READ_ONLY = ("id", "object", "expires_at", "client_secret")

_EVENTS = {
    "response.output_text.delta": "response.text.delta",
    "response.output_text.done": "response.text.done",
    "response.output_audio.delta": "response.audio.delta",
    "response.output_audio.done": "response.audio.done",
    "response.output_audio_transcript.delta": "response.audio_transcript.delta",
    "response.output_audio_transcript.done": "response.audio_transcript.done",
    "conversation.item.added": "conversation.item.created",
    "conversation.item.done": None,  # GA only
    "input_audio_buffer.timeout_triggered": None,
}
_NEWER = ("languages",)  # fields of events that the beta protocol does not have
_CONTENT = {"output_text": "text", "output_audio": "audio"}


def is_beta_session(patch: Mapping[str, Any]) -> bool:
    return "type" not in patch and any(key in _FIELDS for key in patch)


def ga_patch(patch: Mapping[str, Any]) -> dict[str, Any]:
    """A session.update's `session` in the GA shape; beta fields move to their new places, others stay."""
    ga: dict[str, Any] = {}
    for key, value in patch.items():
        if key in _READ_ONLY:
            continue
        path = _FIELDS.get(key, (key,))
        target = ga
        for step in path[:-1]:
            inner = target.get(step)
            target[step] = target = dict(inner) if isinstance(inner, Mapping) else {}
        target[path[-1]] = _ga_value(key, value)
    return ga


def _ga_value(key: str, value: Any) -> Any:
    if key in ("input_audio_format", "output_audio_format") and isinstance(value, str):
        return FORMATS.get(value, {"type": value})
    if key == "modalities" and isinstance(value, list):
        return ["audio"] if "audio" in value else value  # beta's audio always brings its text
    return value


def beta_session(session: Mapping[str, Any]) -> dict[str, Any]:
    audio = session["audio"]
    listening = audio["input"]
    beta: dict[str, Any] = {
        "id": session["id"],
        "object": session["object"],
        "expires_at": session["expires_at"],
        "input_audio_format": _BETA_FORMATS[listening["format"]["type"]],
        "input_audio_transcription": listening["transcription"],
        "turn_detection": listening["turn_detection"],
    }
    if session["type"] == "transcription":
        return beta | {"modalities": ["text"]}
    speaking = audio["output"]
    kept = ("model", "instructions", "tools", "tool_choice", "temperature")
    return (
        beta
        | {key: session[key] for key in kept if key in session}
        | {
            "modalities": _beta_modalities(session["output_modalities"]),
            "max_response_output_tokens": session["max_output_tokens"],
            "output_audio_format": _BETA_FORMATS[speaking["format"]["type"]],
            "voice": speaking["voice"],
            "speed": speaking["speed"],
            "speech_model": speaking["model"],
        }
    )


def _beta_modalities(modalities: list[str]) -> list[str]:
    return ["text", "audio"] if "audio" in modalities else ["text"]


def beta_event(event: dict[str, Any]) -> dict[str, Any] | None:
    """A GA server event as a beta client knows it; None when it has no such event."""
    kind = _EVENTS.get(event["type"], event["type"])
    if kind is None:
        return None
    event = {name: value for name, value in event.items() if name not in _NEWER} | {"type": kind}
    if "session" in event:
        event["session"] = beta_session(event["session"])
    if "item" in event:
        event["item"] = _beta_item(event["item"])
    if "response" in event:
        event["response"] = _beta_response(event["response"])
    return event


def _beta_item(item: dict[str, Any]) -> dict[str, Any]:
    if "content" not in item:
        return item
    parts = [part | {"type": _CONTENT.get(part["type"], part["type"])} for part in item["content"]]
    return item | {"content": parts}


def _beta_response(response: dict[str, Any]) -> dict[str, Any]:
    beta = dict(response)
    beta["modalities"] = _beta_modalities(beta.pop("output_modalities", ["audio"]))
    speaking = beta.pop("audio", {}).get("output", {})
    if speaking:
        beta["voice"] = speaking["voice"]
        beta["output_audio_format"] = _BETA_FORMATS[speaking["format"]["type"]]
    beta["output"] = [_beta_item(item) for item in beta.get("output", [])]
    return beta
