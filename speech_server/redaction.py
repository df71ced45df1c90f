"""Takes secrets out of a text that leaves the process: known values, and what stands where keys stand."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

HIDDEN = "***"
SHORTEST = 6  # characters; a shorter value is no secret, and would blank ordinary words
SECRET_NAMES = re.compile(r"KEY|SECRET|TOKEN|PASSWORD|CREDENTIAL|OTLP_.*HEADERS", re.IGNORECASE)
PATTERNS = (
    (re.compile(r"(?<=\?)[\w.~%+\[\]-]+=[^\s\"'<>]*"), HIDDEN),  # what follows an address: keys, signatures
    (re.compile(r"(?<=://)[^\s/@\"'<>]+@"), f"{HIDDEN}@"),
    (re.compile(r"\b(bearer|basic)(\s+)[\w.~+/=-]+", re.IGNORECASE), rf"\1\2{HIDDEN}"),
    (re.compile(r"(openai-insecure-api-key\.)[^\s,;\"']+"), rf"\1{HIDDEN}"),
    (
        re.compile(r"((?:x-api-key|api[_-]key|authorization)[\"']?\s*[:=]\s*[\"']?)[^\s,;&\"']+", re.IGNORECASE),
        rf"\1{HIDDEN}",
    ),
)


def secret_values(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Longest first."""
    found = {value for name, value in environ.items() if SECRET_NAMES.search(name) and len(value) >= SHORTEST}
    return tuple(sorted(found, key=len, reverse=True))


def redact(line: str, secrets: tuple[str, ...] = ()) -> str:
    for secret in secrets:
        line = line.replace(secret, HIDDEN)
    for pattern, instead in PATTERNS:
        line = pattern.sub(instead, line)
    return line


def first_fault(error: ValidationError) -> str:
    """Where in somebody's file something is wrong, and what: one line, without what stands there."""
    fault = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part)[:50] for part in fault["loc"])
    return f"{place[:100]}: {fault['msg']}"
