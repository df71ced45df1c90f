"""The one shape of every error: OpenAI's envelope, beside the `detail` Speaches' clients read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse

from speech_server.errors import Busy, Forbidden, SpeechError
from speech_server.redaction import redact

LONGEST_MESSAGE = 2000  # characters; a message may quote what the client sent


def envelope(
    message: str, *, kind: str, param: str | None = None, code: str | None = None, detail: object = None
) -> dict[str, Any]:
    """`{"error": {...}, "detail": ...}`; `detail` is the message unless a list of faults is given."""
    message = redact(message[: 2 * LONGEST_MESSAGE])  # it may quote an address that carries a key
    message = message.encode("utf-8", "replace").decode()  # a lone surrogate cannot be sent
    if len(message) > LONGEST_MESSAGE:
        message = message[:LONGEST_MESSAGE] + "..."
    error = {"message": message, "type": kind, "param": param, "code": code}
    return {"error": error, "detail": message if detail is None else detail}


def describe(error: SpeechError) -> dict[str, Any]:
    return envelope(error.message, kind=error.type, param=error.param, code=error.code)


def error_reply(error: SpeechError, headers: Mapping[str, str] | None = None) -> JSONResponse:
    extra = dict(headers or {})
    if isinstance(error, Busy):
        extra["Retry-After"] = str(max(1, round(error.retry_after)))
    if isinstance(error, Forbidden):
        extra["WWW-Authenticate"] = "Bearer"
    return JSONResponse(describe(error), error.status, extra)
