"""session.update: what a session becomes by it, or why it may not."""

from __future__ import annotations

from pydantic import ValidationError

from speech_server.errors import InvalidRequest
from speech_server.realtime.protocol.config import SessionConfig
from speech_server.realtime.protocol.dialect import ga_patch
from speech_server.realtime.protocol.events import ProtocolError, SessionUpdate, invalid
from speech_server.realtime.protocol.translation import check_settings


def updated(config: SessionConfig, event: SessionUpdate) -> SessionConfig:
    """Raises ProtocolError."""
    patch = ga_patch(event.session)
    if config.translator is not None:
        check_settings(patch, {"type": "translation", "model": config.translator})
    elif patch.get("type") == "translation":
        raise ProtocolError(
            "Invalid session: translations have an address of their own: connect to /v1/realtime/translations",
            code="invalid_value",
            param="session.type",
        )
    if event.type == "transcription_session.update":
        patch = {key: patch[key] for key in ("audio", "include") if key in patch}
    try:
        return _allowed(config, config.updated(patch))
    except ValidationError as error:
        raise invalid(error, event.event_id, event.type) from None
    except InvalidRequest as error:  # a language nobody speaks
        raise ProtocolError(error.message, code=error.code or "invalid_value", param=error.param) from None


def _allowed(config: SessionConfig, wanted: SessionConfig) -> SessionConfig:
    """As OpenAI has it, whose clients hold keys that were made for one kind of session. Raises ProtocolError."""
    if config.type == "transcription" and wanted.type != "transcription":
        raise ProtocolError(
            "A transcription session cannot become a conversation: open another session",
            code="invalid_session_type",
            param="session.type",
        )
    if config.model is not None and wanted.model != config.model:
        raise ProtocolError(
            f"The session's model is {config.model}, and stays it: open another session for another model",
            code="cannot_update_model",
            param="session.model",
        )
    return wanted
