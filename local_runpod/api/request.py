"""The body of /run and /runsync, parsed once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from local_runpod.api import raw_json
from local_runpod.errors import BadRequest
from local_runpod.settings import Settings
from outgoing.errors import UrlRefused
from outgoing.url import parse_url


@dataclass(frozen=True)
class JobRequest:
    """What a client asked for. Times are seconds (the API's are milliseconds)."""

    input: Any  # as orjson writes it: a Fragment where it came as bytes
    execution_timeout: float
    ttl: float
    webhook: str | None = None
    s3_config: dict[str, Any] | None = None
    low_priority: bool = False


def parse_json(body: bytes) -> Any:
    """Strict JSON: NaN, lone surrogates and trailing text are errors, as they are to every other reader of a result."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is not valid JSON: {error}") from error


def raw_members(body: bytes) -> dict[str, bytes]:
    """Of an object; of anything else none."""
    try:
        return raw_json.members(body) or {}
    except ValueError:
        raise BadRequest("the body is not valid JSON") from None


def parse_request(body: bytes, settings: Settings) -> JobRequest:
    raw = raw_members(body)
    if raw.get("input", b"null") == b"null":
        raise BadRequest('input is required: send {"input": ...}')
    data = {name: parse_json(value) for name, value in raw.items() if name in ("policy", "webhook", "s3Config")}
    policy = _object(data, "policy") or {}
    return JobRequest(
        input=orjson.Fragment(raw["input"]),
        execution_timeout=_seconds(policy, "executionTimeout", settings.execution_timeout),
        ttl=_seconds(policy, "ttl", settings.ttl),
        webhook=_webhook(data.get("webhook")),
        s3_config=_object(data, "s3Config"),
        low_priority=policy.get("lowPriority") is True,
    )


def _webhook(value: object) -> str | None:
    if value is None:
        return None
    try:
        return parse_url(value if isinstance(value, str) else "").text
    except UrlRefused as error:
        raise BadRequest(f"webhook must be an http or https URL: {error.message}") from None


def _object(data: dict[str, Any], name: str) -> dict[str, Any] | None:
    value = data.get(name)
    if value is not None and not isinstance(value, dict):
        raise BadRequest(f"{name} must be an object")
    return value


def _seconds(policy: dict[str, Any], name: str, default: float) -> float:
    value = policy.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        raise BadRequest(f"policy.{name} must be a positive number of milliseconds")
    return value / 1000
