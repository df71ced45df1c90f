"""What passes on the wire of a translation session: a few of a session's settings, and seven events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from speech_server.realtime.protocol.config import Audio, AudioInput, AudioOutput, SessionConfig
from speech_server.realtime.protocol.events import ProtocolError

# The speaker's own words are shown where a transcription is asked for.
_AUDIO = Audio(input=AudioInput(transcription=None), output=AudioOutput(language="en"))
TRANSLATION = SessionConfig(type="translation", audio=_AUDIO)
SETTINGS = ("model", "audio", "output_modalities")  # the last is ours: OpenAI's always speaks
_EVENTS = (
    "session.created",
    "session.updated",
    "session.closed",
    "session.input_transcript.delta",
    "session.output_transcript.delta",
    "session.output_audio.delta",
    "error",
)


def check_settings(patch: Mapping[str, Any], fixed: Mapping[str, Any]) -> None:
    """Raises ProtocolError for what a translation does not have, and for another value of what is fixed."""
    for name, value in patch.items():
        if name not in {*SETTINGS, *fixed}:
            fault = f"a translation has no '{name[:100]}', only {', '.join(SETTINGS)}"
        elif name in fixed and value != fixed[name]:
            fault = f"{name} is '{fixed[name]}' here, and another takes another connection"
        else:
            continue
        raise ProtocolError(f"Invalid session: {fault}", code="invalid_value", param=f"session.{name[:100]}")


def translation_event(event: dict[str, Any]) -> dict[str, Any] | None:
    """A session's event as a client of a translation knows it; None when it has no such event."""
    if event["type"] == "conversation.item.input_audio_transcription.failed":
        return {"type": "error", "event_id": event["event_id"], "error": event["error"]}
    return event if event["type"] in _EVENTS else None
