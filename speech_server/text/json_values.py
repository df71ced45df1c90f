"""What of JSON nobody here can handle: too deep for who goes through it by recursion, or not to be written again."""

from __future__ import annotations

import math
from typing import Any

MOST_LEVELS = 64
INTEGERS = range(-(1 << 63), 1 << 64)


def check(value: Any) -> None:
    """Raises ValueError, saying what it is."""
    level: list[Any] = [[value]]
    for _ in range(MOST_LEVELS + 2):
        level = [inner for outer in level for inner in inside(outer)]
        if not level:
            return
    raise ValueError(f"nested more than {MOST_LEVELS} levels deep")


def inside(value: list[Any] | dict[str, Any]) -> list[Any]:
    """What has to be looked at again."""
    found = []
    for inner in value.values() if isinstance(value, dict) else value:
        if isinstance(inner, list | dict):
            found.append(inner)
        elif isinstance(inner, float) and not math.isfinite(inner):
            raise ValueError("a number is out of range")
        elif isinstance(inner, int) and inner not in INTEGERS:
            raise ValueError("an integer has more than 64 bits")
    return found
