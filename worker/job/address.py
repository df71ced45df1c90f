"""What a job may ask of the local server: method, path, query and headers, checked before anything is sent."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote

from worker.errors import InvalidJob

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
MAX_PATH = 4096  # characters; servers take about 8 kB for the whole request line
MAX_HEADERS = 64
MAX_HEADER_VALUE = 8192  # characters

# RFC 9110, 7.6.1, and what only the connection itself may say.
_CONNECTION_HEADERS = re.compile(
    r"connection|keep-alive|proxy-.+|te|trailers?|transfer-encoding|upgrade|expect|host|content-length"
)
# Set by the worker; clients copy them from their own requests, so they are taken and have no effect.
_WORKER_HEADERS = frozenset(("accept-encoding", "content-type"))
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_PATH_SAFE = "/%:@!$&'()*+,;=~-._"  # RFC 3986 pchar, and % for what is encoded already

Pairs = tuple[tuple[str, str], ...]


def check_method(method: str, where: str) -> str:
    if method.upper() not in METHODS:
        raise InvalidJob(f"{where}: {method[:20]!r} is not one of {', '.join(METHODS)}")
    return method.upper()


def check_path(raw: str, where: str) -> tuple[str, str]:
    """A path on the local server -> (percent-encoded path, query as it was given).

    The path is judged in every form that percent-decoding can give it, because servers and proxies differ in how
    often they decode.
    """
    if len(raw) > MAX_PATH:
        raise InvalidJob(f"{where}: {len(raw)} characters, at most {MAX_PATH} are taken")
    if not raw.startswith("/"):
        raise InvalidJob(f"{where}: {raw[:60]!r} must begin with one /, like /v1/audio/speech; it is never a URL")
    path, _, query = raw.partition("?")
    if "#" in raw:
        raise InvalidJob(f"{where}: # has no meaning here; write %23 if it belongs to a name")
    if _CONTROL.search(query):
        raise InvalidJob(f"{where}: control characters in the query")
    form = path
    for _ in range(4):
        _refuse_escapes(form, raw, where)
        if (decoded := unquote(form, errors="replace")) == form:
            return quote(path, safe=_PATH_SAFE), query
        form = decoded
    raise InvalidJob(f"{where}: {raw[:60]!r} is percent-encoded too many times")


def _refuse_escapes(form: str, raw: str, where: str) -> None:
    if _CONTROL.search(form):
        raise InvalidJob(f"{where}: {raw[:60]!r} has control characters")
    if "\\" in form:
        raise InvalidJob(f"{where}: {raw[:60]!r} has a backslash")
    if "//" in form:
        raise InvalidJob(f"{where}: {raw[:60]!r} has //, which begins a host name; use a model alias for such ids")
    if any(segment in (".", "..") for segment in form.split("/")):
        raise InvalidJob(f"{where}: {raw[:60]!r} has . or .. as a segment")


def check_query(query: Mapping[str, Any], where: str) -> Pairs:
    """{"task": "x", "id": [1, 2]} -> pairs; a list repeats its name, null leaves it out."""
    return tuple(
        (plain_text(name, where), plain_text(item, f"{where}.{name}"))
        for name, value in query.items()
        for item in (value if isinstance(value, list) else [value])
        if item is not None
    )


def check_headers(headers: Mapping[str, Any], where: str) -> Pairs:
    if len(headers) > MAX_HEADERS:
        raise InvalidJob(f"{where}: {len(headers)} headers, at most {MAX_HEADERS} are taken")
    pairs: dict[str, str] = {}
    for name, value in headers.items():
        lower = name.lower()
        if not _TOKEN.fullmatch(name):
            raise InvalidJob(f"{where}: {name[:60]!r} is not a header name")
        if _CONNECTION_HEADERS.fullmatch(lower):
            raise InvalidJob(f"{where}.{name}: belongs to the connection, which is the worker's; leave it out")
        if lower in pairs:
            raise InvalidJob(f"{where}.{name}: given twice")
        text = plain_text(value, f"{where}.{name}")
        if _CONTROL.search(text.replace("\t", " ")) or not text.isascii():
            raise InvalidJob(f"{where}.{name}: only printable ASCII can be sent in a header")
        if len(text) > MAX_HEADER_VALUE:
            raise InvalidJob(f"{where}.{name}: {len(text)} characters, at most {MAX_HEADER_VALUE} are taken")
        if lower not in _WORKER_HEADERS:
            pairs[lower] = text.strip()
    return tuple(pairs.items())


def plain_text(value: object, where: str) -> str:
    """A scalar as it is written in a query, a header or a form: true and false, numbers, text."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        if isinstance(value, float) and not math.isfinite(value):
            raise InvalidJob(f"{where}: {value} is not JSON")
        return str(value)
    if isinstance(value, str):
        if _SURROGATE.search(value):
            raise InvalidJob(f"{where}: holds half of a surrogate pair, which is no character")
        return value
    raise InvalidJob(f"{where}: must be text, a number or a boolean, not {json_kind(value)}")


def json_kind(value: object) -> str:
    kinds = {dict: "an object", list: "a list", str: "text", bool: "a boolean", type(None): "null"}
    return kinds.get(type(value), "a number")
