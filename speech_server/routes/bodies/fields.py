"""Fields of a form are text: lists and objects in them."""

from __future__ import annotations

import json
from typing import Any

MOST_BRACKETS = 20  # of JSON in a field: one list or one object is all there is to say


def from_json(value: object) -> object:
    """Fields of a form are text: a list or an object in one may be JSON."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        if value.count("[") + value.count("{") > MOST_BRACKETS:
            raise ValueError(f"not what this field takes: it has more than {MOST_BRACKETS} brackets")
        try:
            return json.loads(value)
        except ValueError as error:
            raise ValueError(f"not valid JSON: {error}") from error
    return value


def as_list(value: object) -> object:
    if isinstance(value, list):
        return [item for text in value for item in as_items(text)]
    return as_items(value)


def as_items(value: object) -> list[Any]:
    value = from_json(value)
    if isinstance(value, list):
        return value
    return [item.strip() for item in value.split(",")] if isinstance(value, str) else [value]
