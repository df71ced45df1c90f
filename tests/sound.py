"""Sound files made in memory."""

from __future__ import annotations

import io
import wave


def wav(samples: bytes, rate: int = 16_000) -> bytes:
    """s16le mono samples as a WAV file."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples)
    return buffer.getvalue()
