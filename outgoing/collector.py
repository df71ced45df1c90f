"""Where spans are sent: OpenTelemetry's own variables, checked before its library is imported."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from outgoing.errors import CollectorRefused, UrlRefused
from outgoing.url import parse_base

_BASE, _EXACT = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
_HEADERS = ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS")
_FLUSH, _FLUSH_MS = "OTEL_BSP_EXPORT_TIMEOUT", 2000
# The library logs a header that it cannot read, its value and all; so only what it can read gets that far.
_HEADER = re.compile(r"[ \t]*[!#-'*+.0-9A-Z^-z|~-]+[ \t]*=([ !#-+\--:<-\[\]-~]*)")


@dataclass(frozen=True, slots=True)
class Collector:
    url: str  # that takes traces
    flush_seconds: float  # for the last spans, when the process ends


def named_in(environ: Mapping[str, str]) -> Collector | None:
    """None where nobody wants traces. Raises CollectorRefused."""
    base, exact = _address(environ, _BASE), _address(environ, _EXACT)
    if not (base or exact) or _word(environ, "OTEL_SDK_DISABLED") == "true":
        return None
    if _word(environ, "OTEL_TRACES_EXPORTER") == "none":
        return None
    for name in _HEADERS:
        _check_headers(name, environ.get(name, ""))
    flush = environ.get(_FLUSH, "").strip() or str(_FLUSH_MS)
    if not flush.isdecimal():
        raise CollectorRefused(f"{_FLUSH}: {flush[:40]!r} is not a number of milliseconds")
    return Collector(exact or f"{base}/v1/traces", int(flush) / 1000)


def _word(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name, "").strip().lower()


def _address(environ: Mapping[str, str], name: str) -> str:
    if not (text := environ.get(name, "").strip()):
        return ""
    try:
        return parse_base(text)
    except UrlRefused as error:
        raise CollectorRefused(f"{name}: {error.message}; it is the collector's OTLP/HTTP address") from None


def _check_headers(name: str, text: str) -> None:
    """Never says what it is that cannot be read: it is a key."""
    for number, header in enumerate(text.split(","), 1):
        found = _HEADER.fullmatch(header)
        if header.strip() and not (found and (value := unquote(found[1])).isascii() and value.isprintable()):
            raise CollectorRefused(f"{name}: its header {number} is not name=value, the value percent-encoded")
