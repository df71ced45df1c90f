"""What was said in spoken answers, by their id: the next question may name an answer instead of repeating it."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from speech_server.errors import InvalidRequest

LIFETIME = 3600  # seconds
MOST = 1000


class Answers:
    """The last answers of this process, each for an hour."""

    def __init__(self) -> None:
        self._said: OrderedDict[str, tuple[float, str]] = OrderedDict()

    def new(self) -> tuple[str, int]:
        """An id, and when it expires: seconds since 1970."""
        return f"audio_{secrets.token_hex(12)}", int(time.time()) + LIFETIME

    def remember(self, answer_id: str, transcript: str) -> None:
        self._said[answer_id] = (time.time() + LIFETIME, transcript)
        while len(self._said) > MOST:
            self._said.popitem(last=False)

    def said(self, audio: Mapping[str, Any], where: str) -> str:
        """The text of an assistant message's `audio`. Raises InvalidRequest when it is not known any more."""
        if isinstance(audio.get("transcript"), str):
            return str(audio["transcript"])
        expires, transcript = self._said.get(str(audio.get("id")), (0.0, ""))
        if expires < time.time():
            raise InvalidRequest(
                f"{where}: this answer has expired or was given by another worker; send the message with its "
                "transcript as content",
                param=where,
                code="audio_expired",
            )
        return transcript
