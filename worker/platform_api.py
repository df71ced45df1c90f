"""Runpod's own HTTP APIs as a client uses them: jobs at an endpoint, and GraphQL for templates and endpoints.

The SDK is not used here: it takes 1.5 s to import, cannot update an endpoint, and pastes values into its queries
unescaped. The shapes are those of Runpod's documentation and of its command line tool.
"""

from __future__ import annotations

import os
from types import TracebackType
from typing import Any, Self

import httpx

from outgoing.door import Door
from outgoing.errors import OutgoingError
from outgoing.http import transport
from outgoing.lookups import LookUp, system_look_up
from outgoing.url import parse_url

REQUEST_TIMEOUT = 30.0  # seconds; status and stream calls answer at once
JOBS_URL = "https://api.runpod.ai/v2"
GRAPHQL_URL = "https://api.runpod.io"


class PlatformError(Exception):
    """The platform could not be reached or refused; the message says what to do."""


class Jobs:
    """The jobs of one endpoint, named by its id or by a whole URL (http://127.0.0.1:8010/v2/local)."""

    def __init__(self, endpoint: str, api_key: str | None, look_up: LookUp = system_look_up) -> None:
        self.url = endpoint.rstrip("/") if "://" in endpoint else f"{JOBS_URL}/{endpoint}"
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = open_client(headers, look_up)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._http.close()

    def run(self, job: dict[str, Any]) -> dict[str, Any]:
        return self._ask("POST", "run", job)

    def status(self, job_id: str) -> dict[str, Any]:
        return self._ask("GET", f"status/{job_id}")

    def stream(self, job_id: str) -> dict[str, Any]:
        return self._ask("GET", f"stream/{job_id}")

    def cancel(self, job_id: str) -> dict[str, Any]:
        return self._ask("POST", f"cancel/{job_id}")

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        return _answer(self._http, method, f"{self.url}/{path}", body)


def open_client(headers: dict[str, str] | None = None, look_up: LookUp = system_look_up) -> httpx.Client:
    way = transport(Door.of_operator(look_up), httpx)
    return httpx.Client(headers=headers, timeout=REQUEST_TIMEOUT, transport=way)


def graphql(query: str, variables: dict[str, Any]) -> dict[str, Any]:
    """The `data` of one GraphQL call. Reads RUNPOD_API_KEY, and RUNPOD_API_BASE_URL as the SDK does."""
    key = os.environ.get("RUNPOD_API_KEY")
    if not key:
        raise PlatformError(
            "RUNPOD_API_KEY is not set: make a key with write access in the console, Settings > API Keys"
        )
    url = os.environ.get("RUNPOD_API_BASE_URL", GRAPHQL_URL) + "/graphql"
    with open_client({"Authorization": f"Bearer {key}"}) as http:
        answer = _answer(http, "POST", url, {"query": query, "variables": variables})
    if answer.get("errors"):
        raise PlatformError("; ".join(str(error.get("message", error)) for error in answer["errors"]))
    data: dict[str, Any] = answer["data"]
    return data


def _answer(http: httpx.Client, method: str, url: str, body: dict[str, Any] | None) -> dict[str, Any]:
    try:
        response = http.request(method, parse_url(url).text, json=body)
    except (httpx.HTTPError, OutgoingError) as error:
        raise PlatformError(f"{url} cannot be reached: {type(error).__name__} {error}") from error
    if response.status_code in (401, 403):
        raise PlatformError(
            f"{url} answered {response.status_code}: RUNPOD_API_KEY is missing or not allowed to do this"
        )
    if response.is_error:
        raise PlatformError(f"{url} answered {response.status_code}: {response.text[:500]}")
    try:
        answer = response.json()
    except ValueError as error:
        raise PlatformError(f"{url} answered no JSON: {response.text[:200]!r}") from error
    if not isinstance(answer, dict):
        raise PlatformError(f"{url} answered {type(answer).__name__}, not an object")
    return answer
