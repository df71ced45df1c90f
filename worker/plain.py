"""Values that survive the trip to the platform: what json.dumps can write and every parser can read."""

from __future__ import annotations

import json
import math
from typing import Any

from worker.errors import BadReply

# The SDK serialises with the standard library, which gives up near 1000 levels.
MAX_DEPTH = 200


class Base64(str):
    """Base64 text that does not flood a log: runpod 1.12 prints a job's output with repr()."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(str(self)) if len(self) <= 100 else f"'{self[:24]}... ({len(self)} characters of base64)'"


def parse_json(raw: bytes) -> Any:
    """JSON, leniently: NaN and Infinity become null. Raises ValueError."""
    try:
        return json.loads(raw, parse_constant=lambda _: None)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def serialised_size(value: Any) -> int:
    """Bytes that the SDK will send for this value. Raises ValueError when it cannot be sent as it is."""
    # The SDK: json.dumps(value, ensure_ascii=False), which aiohttp encodes as UTF-8.
    return len(json.dumps(value, ensure_ascii=False, allow_nan=False).encode())


def make_plain(value: Any) -> tuple[Any, int]:
    """The value as plain JSON, and its size: half characters are replaced, numbers that are none become null."""
    if depth(value) > MAX_DEPTH:
        raise BadReply(f"the server's JSON is nested more than {MAX_DEPTH} levels deep")
    try:
        return value, serialised_size(value)
    except ValueError:  # UnicodeEncodeError is one: lone surrogates; else NaN or infinity
        value = _scrubbed(value)
        return value, serialised_size(value)


def depth(value: Any) -> int:
    levels = 0
    level = [value]
    while level := [
        child
        for item in level
        if isinstance(item, (dict, list))
        for child in (item.values() if isinstance(item, dict) else item)
    ]:
        levels += 1
    return levels


def plain_text(text: str) -> str:
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _scrubbed(value: Any) -> Any:
    if isinstance(value, str):
        return plain_text(value)
    if isinstance(value, dict):
        return {plain_text(key): _scrubbed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_scrubbed(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
