"""Members of an object come out as they went in; what is no JSON does not."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from local_runpod.api.raw_json import members

any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=5), any_json, max_size=4), st.sampled_from([None, 1]), st.booleans())
def test_every_member_is_found(value: dict[str, Any], indent: int | None, ascii_only: bool):
    found = members(json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode())
    assert found is not None
    assert {key: json.loads(raw) for key, raw in found.items()} == value


@given(st.binary(max_size=30) | st.text('{}[]":,\\ 019-.eu+tnd8c\x01', max_size=25).map(str.encode))
@example(b'{"a": "\\ud83d\\ude00"}')
@example(b'{"a": "\\ud83d"}')
@example(b'{"a": 01}')
@example(b'{"a":1,}')
@example(b"[1,]")
@example(b'{"a" 1}')
@example(b"{1:1}")
@example(b"\xff")
def test_it_takes_what_a_strict_parser_takes(raw: bytes):
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        with pytest.raises(ValueError):  # noqa: PT011 (it has no words)
            members(raw)
    else:
        found = members(raw)
        parsed = None if found is None else {key: orjson.loads(part) for key, part in found.items()}
        assert parsed == (value if isinstance(value, dict) else None)


@pytest.mark.parametrize("part", [b"[" * 5000 + b"]" * 5000, b"1" * 10_000, b'{"a":' * 3000 + b"1" + b"}" * 3000])
def test_nothing_is_too_deep_or_too_long(part: bytes):
    assert members(b'{"input": %s, "webhook": "x"}' % part) == {"input": part, "webhook": b'"x"'}
