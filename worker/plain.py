"""Values that survive the trip to the platform: what json.dumps can write and every parser can read."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from itertools import accumulate
from typing import Any

from worker.errors import BadReply

# Limits of our own: those of the interpreter differ between versions, settings and depths of the call stack.
MAX_DEPTH = 200  # levels of what leaves; the SDK serialises with the standard library, which gives up near 1000
READABLE_DEPTH = 500  # levels of what is read
MAX_DIGITS = 640  # of a whole number; the least that a Python can be set to take
_TOO_DEEP = f"is nested more than {READABLE_DEPTH} levels deep"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

# Possessive, so that no input makes it try twice; a string that does not end reaches to the end.
STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?'
_BETWEEN_BRACKETS = re.compile(STRING + rb'|[^][{}"]++', re.DOTALL)
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")  # as signed bytes: one level down, one level up


class Base64(str):
    """Base64 text that does not flood a log: runpod 1.12 prints a job's output with repr()."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(str(self)) if len(self) <= 100 else f"'{self[:24]}... ({len(self)} characters of base64)'"


def parse_json(raw: bytes, *, keep_nan: bool = False) -> Any:
    """JSON in UTF-8; NaN and Infinity become null, or stay what they are for whoever names their place.

    Raises ValueError, whose text is a verb phrase that quotes nothing of the content.
    """
    try:
        text = raw.removeprefix(_BYTE_ORDER_MARK).decode(errors="surrogatepass")
        value = json.loads(text, parse_int=_whole_number, parse_constant=float if keep_nan else lambda _: None)
    except (ValueError, OverflowError, RecursionError) as error:
        # Which of several mistakes the parser meets first depends on how deep it dares to go: this does not.
        raise ValueError(_TOO_DEEP if _nesting(raw) > READABLE_DEPTH else _reason(error)) from None
    if is_deeper(value, READABLE_DEPTH):
        raise ValueError(_TOO_DEEP)
    return value


def _whole_number(digits: str) -> int:
    if len(digits.removeprefix("-")) > MAX_DIGITS:
        raise OverflowError
    return int(digits)


def _reason(error: Exception) -> str:
    if isinstance(error, OverflowError):
        return f"holds a whole number of more than {MAX_DIGITS} digits, which only text can carry"
    return "is not UTF-8" if isinstance(error, UnicodeDecodeError) else "is not JSON"


def _nesting(raw: bytes) -> int:
    """The most brackets that are open at once, whether it is JSON or not."""
    steps = _BETWEEN_BRACKETS.sub(b"", raw).translate(_STEPS)
    return max(accumulate(memoryview(steps).cast("b")), default=0)


def serialised_size(value: Any) -> int:
    """Bytes that the SDK will send for this value. Raises ValueError when it cannot be sent as it is."""
    # The SDK: json.dumps(value, ensure_ascii=False), which aiohttp encodes as UTF-8.
    return len(json.dumps(value, ensure_ascii=False, allow_nan=False).encode())


def make_plain(value: Any) -> tuple[Any, int]:
    """The value as plain JSON, and its size: half characters are replaced, numbers that are none become null."""
    if is_deeper(value, MAX_DEPTH):
        raise BadReply(f"the server's JSON is nested more than {MAX_DEPTH} levels deep")
    try:
        return value, serialised_size(value)
    except ValueError:  # UnicodeEncodeError is one: lone surrogates; else NaN or infinity
        value = _scrubbed(value)
        return value, serialised_size(value)


def is_deeper(value: Any, levels: int) -> bool:
    """Whether lists and objects are nested in more levels than these. No recursion: this is what protects from it."""
    level = _nested([value])
    for _ in range(levels):
        if not level:
            return False
        level = _nested(child for item in level for child in (item.values() if isinstance(item, dict) else item))
    return bool(level)


def _nested(values: Iterable[Any]) -> list[Any]:
    return [value for value in values if isinstance(value, (dict, list))]


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
