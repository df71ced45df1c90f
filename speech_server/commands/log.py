"""The log's set-up, and the one place where secrets are taken out of it: every line, whoever wrote it, passes here.

uvicorn writes the address of each WebSocket, where a browser has to put its key; libraries write addresses with
signatures into their errors, and errors end in tracebacks.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from uvicorn.config import LOGGING_CONFIG
from uvicorn.logging import DefaultFormatter

from speech_server.redaction import redact, secret_values


class RedactingFormatter(DefaultFormatter):
    """The last step before the stream: message, arguments and traceback are one text here."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._secrets = secret_values(os.environ)

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record), self._secrets)


def log_config(level: str) -> dict[str, Any]:
    level = level.upper()
    ours = {"handlers": ["default"], "level": level, "propagate": False}
    # At debug uvicorn's WebSockets write every header and every message: keys, and what is said.
    served = {**ours, "level": "INFO" if level == "DEBUG" else level}
    formatter = {**LOGGING_CONFIG["formatters"]["default"], "()": RedactingFormatter}
    return {
        **LOGGING_CONFIG,
        "formatters": {"default": formatter},
        "handlers": {"default": LOGGING_CONFIG["handlers"]["default"]},
        "loggers": {"uvicorn": served, "speech_server": ours, "py.warnings": ours},
        "root": {"handlers": ["default"], "level": "WARNING"},
    }
