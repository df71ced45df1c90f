"""The body of /run and /runsync, parsed once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from local_runpod.errors import BadRequest
from local_runpod.settings import Settings
from outgoing.errors import UrlRefused
from outgoing.url import parse_url


@dataclass(frozen=True)
class JobRequest:
    """What a client asked for. Times are seconds (the API's are milliseconds)."""

    input: Any
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


def parse_request(body: bytes, settings: Settings) -> JobRequest:
    data = parse_json(body)
    if not isinstance(data, dict) or data.get("input") is None:
        raise BadRequest('input is required: send {"input": ...}')
    policy = _object(data, "policy") or {}
    return JobRequest(
        input=data["input"],
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
