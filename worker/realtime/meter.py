"""Counts what a realtime session carries: seconds of audio each way, and turns. Reads the protocol, knows no speech."""

from __future__ import annotations

import json
import re
from typing import Any

_APPEND = 'input_audio_buffer.append"'  # a translation's has "session." before it
_AUDIO = re.compile(r'"audio"\s*:\s*"([^"]*)"')
_DELTAS = ('"response.output_audio.delta"', '"response.audio.delta"', '"session.output_audio.delta"')
_DELTA = re.compile(r'"delta"\s*:\s*"([^"]*)"')
_COMMITTED = '"input_audio_buffer.committed"'
_SESSIONS = ('"session.created"', '"session.updated"', '"transcription_session.updated"')
PCM_24K = 48_000  # bytes per second
# What the beta and the GA protocol call telephone audio: a byte per sample, 8000 a second.
_TELEPHONE = ("audio/pcmu", "audio/pcma", "g711_ulaw", "g711_alaw")


class Meter:
    """`turns` counts what the person said, `heard` and `spoken` are seconds of audio to and from the server."""

    def __init__(self) -> None:
        self.heard = self.spoken = 0.0
        self.turns = 0
        self._heard_rate = self._spoken_rate = PCM_24K

    def from_client(self, message: str) -> None:
        # Parsing every frame would cost more than passing it on.
        if _APPEND in message and (audio := _AUDIO.search(message)):
            self.heard += _bytes(audio) / self._heard_rate

    def from_server(self, message: str) -> None:
        head = message[:200]
        if any(kind in head for kind in _DELTAS):
            if audio := _DELTA.search(message):
                self.spoken += _bytes(audio) / self._spoken_rate
        elif _COMMITTED in head:
            self.turns += 1
        elif any(kind in head for kind in _SESSIONS):
            self._read_formats(message)

    def _read_formats(self, message: str) -> None:
        try:
            session = json.loads(message)["session"]
        except (ValueError, KeyError, TypeError):
            return
        if isinstance(session, dict):
            audio = session.get("audio") or {}
            heard = (audio.get("input") or {}).get("format", session.get("input_audio_format"))
            spoken = (audio.get("output") or {}).get("format", session.get("output_audio_format"))
            self._heard_rate, self._spoken_rate = _rate(heard), _rate(spoken)


def _bytes(base64: re.Match[str]) -> int:
    start, end = base64.span(1)
    return (end - start) * 3 // 4


def _rate(audio_format: Any) -> int:
    """Bytes per second of a format, `{"type": "audio/pcm", "rate": 24000}` or the beta protocol's name."""
    name = audio_format.get("type") if isinstance(audio_format, dict) else audio_format
    if name in _TELEPHONE:
        return 8_000
    rate = audio_format.get("rate") if isinstance(audio_format, dict) else None
    return 2 * rate if isinstance(rate, int) and rate > 0 else PCM_24K
