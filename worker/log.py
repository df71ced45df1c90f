"""Log lines: readable at home, Runpod's JSON on the platform. Usable before runpod is imported.

Format and level (RUNPOD_LOG_LEVEL) are those of runpod 1.12's own logger, so that both read as one log.
"""

from __future__ import annotations

import json
import os
import re
import sys
from contextlib import suppress

# A line is one line, and says what was meant: no text of a job can begin another one, or move a terminal's cursor.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_LEVELS = ("DEBUG", "INFO", "WARN", "ERROR")


def _write(level: str, message: str, job_id: str | None) -> None:
    wanted = os.environ.get("RUNPOD_LOG_LEVEL", "INFO").upper()
    if wanted == "NOTSET" or (wanted in _LEVELS and _LEVELS.index(level) < _LEVELS.index(wanted)):
        return
    message = _CONTROL.sub(lambda found: ascii(found[0])[1:-1], message)
    if os.environ.get("RUNPOD_ENDPOINT_ID"):
        line = json.dumps({"requestId": job_id, "message": message, "level": level})
    else:
        line = f"{level:<7}| {job_id} | {message}" if job_id else f"{level:<7}| {message}"
    # One write per line: the server's log is forwarded from another thread. A log nobody reads must not stop the work.
    with suppress(OSError, ValueError):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def debug(message: str, job_id: str | None = None) -> None:
    _write("DEBUG", message, job_id)


def info(message: str, job_id: str | None = None) -> None:
    _write("INFO", message, job_id)


def warn(message: str, job_id: str | None = None) -> None:
    _write("WARN", message, job_id)


def error(message: str, job_id: str | None = None) -> None:
    _write("ERROR", message, job_id)
