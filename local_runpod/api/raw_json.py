"""A JSON object's members as the bytes they came as: a job's input is carried to its worker, never read.

Checked without recursion and without making a number of anything, so that no depth is too deep and no number too long
here: what a worker makes of those is what a platform at home is for.
"""

from __future__ import annotations

import re

import orjson

_ESCAPE = rb'\\(?:["\\/bfnrt]|u(?![dD][89a-fA-F])[0-9a-fA-F]{4}|u[dD][89abAB]..\\u[dD][c-fC-F]..)'
_STRING = rb'"(?:[^"\\\x00-\x1f]++|' + _ESCAPE + rb')*+"'
_NUMBER = rb"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][-+]?[0-9]++)?+"
_TOKEN = re.compile(rb"[ \t\r\n]*+((" + _STRING + rb")|(" + _NUMBER + rb"|true|false|null)|[][{}:,])", re.DOTALL)

# What may come next, in the grammar's own words.
_VALUE, _VALUE_OR_END, _KEY, _KEY_OR_END, _COLON, _COMMA_OR_END, _NOTHING = range(7)


def members(body: bytes) -> dict[str, bytes] | None:
    """None when the whole is no object. Raises ValueError when it is not JSON in UTF-8."""
    body.decode()
    body = body.rstrip(b" \t\r\n")
    found: dict[str, bytes] = {}
    open_brackets, expected, position = bytearray(), _VALUE, 0
    key, begin = "", 0
    while expected != _NOTHING:
        if not (token := _TOKEN.match(body, position)):
            raise ValueError
        at_member = open_brackets == b"{"
        if at_member and expected in (_KEY, _KEY_OR_END) and token[2]:
            key = orjson.loads(token[2])
        elif at_member and expected == _VALUE:
            begin = token.start(1)
        expected = _after(token, expected, open_brackets)
        position = token.end()
        if open_brackets == b"{" and expected == _COMMA_OR_END and begin:
            found[key], begin = body[begin:position], 0
    if position != len(body):
        raise ValueError
    return found if body.lstrip()[:1] == b"{" else None


def _after(token: re.Match[bytes], expected: int, open_brackets: bytearray) -> int:
    """What may come after this token, which was expected or raises ValueError."""
    mark: bytes = token[1]
    inside = bytes(open_brackets[-1:])
    if mark in (b"{", b"[") and expected in (_VALUE, _VALUE_OR_END):
        open_brackets += mark
        return _KEY_OR_END if mark == b"{" else _VALUE_OR_END
    if (mark, inside) in ((b"}", b"{"), (b"]", b"[")) and expected in (_KEY_OR_END, _VALUE_OR_END, _COMMA_OR_END):
        del open_brackets[-1:]
        return _COMMA_OR_END if open_brackets else _NOTHING
    if mark == b"," and expected == _COMMA_OR_END:
        return _KEY if inside == b"{" else _VALUE
    if mark == b":" and expected == _COLON:
        return _VALUE
    if token[2] and expected in (_KEY, _KEY_OR_END):
        return _COLON
    if (token[2] or token[3]) and expected in (_VALUE, _VALUE_OR_END):
        return _COMMA_OR_END if open_brackets else _NOTHING
    raise ValueError
