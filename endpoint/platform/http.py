"""One call to Runpod's HTTP APIs: sent, with files as base64 in it, judged, and its answer an object."""

from __future__ import annotations

import base64
import json
import os
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import httpx

from endpoint.errors import BadArgument, PlatformRefused, Unreachable
from outgoing.door import Door
from outgoing.errors import OutgoingError
from outgoing.http import async_transport
from outgoing.lookups import LookUp, system_look_up

Client = httpx.AsyncClient

GRAPHQL_URL = "https://api.runpod.io"
REQUEST_SECONDS = 30.0  # most calls answer at once
HERE = f"file-{uuid.uuid4().hex}"  # what a job says where the base64 of a file belongs; no caller can know it
_BLOCK = 3 << 18  # bytes; a multiple of three, so that the base64 of blocks joins


def open_client(
    headers: dict[str, str] | None = None, look_up: LookUp = system_look_up, **options: Any
) -> httpx.AsyncClient:
    """For URLs that whoever types the command named."""
    return httpx.AsyncClient(headers=headers, transport=async_transport(Door.of_operator(look_up), httpx), **options)


@dataclass(frozen=True, slots=True)
class Content:
    """A body of JSON that is made while it is sent, as often as it is sent."""

    size: int
    blocks: Callable[[], AsyncIterator[bytes]]


def content_of(job: dict[str, Any], files: Sequence[BinaryIO]) -> Content:
    """The body of /run: in it, in order, the base64 of each file in the place of a HERE. No file is ever whole in
    memory."""
    parts = json.dumps(job).encode().split(HERE.encode())
    size = sum(map(len, parts)) + sum(-(-file.seek(0, os.SEEK_END) // 3) * 4 for file in files)

    async def blocks() -> AsyncIterator[bytes]:
        yield parts[0]
        for file, following in zip(files, parts[1:], strict=True):
            file.seek(0)
            while block := file.read(_BLOCK):
                yield base64.b64encode(block)
            yield following

    return Content(size, blocks)


async def ask(
    http: httpx.AsyncClient,
    method: str,
    url: str,
    body: Any = None,
    *,
    headers: dict[str, str] | None = None,
    seconds: float = REQUEST_SECONDS,
) -> dict[str, Any]:
    """`body` is a value, or Content. Raises Unreachable, PlatformRefused."""
    headers = headers or {}
    sent: dict[str, Any] = {"json": body}
    if isinstance(body, Content):
        headers = {**headers, "content-type": "application/json", "content-length": str(body.size)}
        sent = {"content": body.blocks()}
    try:
        response = await http.request(method, url, **sent, headers=headers, timeout=seconds)
    except (httpx.HTTPError, OutgoingError) as error:
        raise Unreachable(f"{url} cannot be reached: {type(error).__name__} {error}") from error
    if response.status_code in (401, 403):
        raise PlatformRefused(
            f"{url} answered {response.status_code}: RUNPOD_API_KEY is missing or not allowed to do this",
            response.status_code,
        )
    if response.is_error:
        raise PlatformRefused(f"{url} answered {response.status_code}: {response.text[:500]}", response.status_code)
    try:
        answer = response.json()
    except ValueError as error:
        raise Unreachable(f"{url} answered no JSON: {response.text[:200]!r}") from error
    if not isinstance(answer, dict):
        raise Unreachable(f"{url} answered {type(answer).__name__}, not an object")
    return answer


async def ask_account(query: str, variables: dict[str, Any]) -> dict[str, Any]:
    """The `data` of one GraphQL query about templates and endpoints. Raises BadArgument, PlatformRefused, Unreachable.

    Reads RUNPOD_API_KEY, and RUNPOD_API_BASE_URL as the SDK does. The SDK itself takes 1.5 s to import, cannot update
    an endpoint, and pastes values into its queries unescaped. The shapes are those of Runpod's documentation and of
    its command line tool.
    """
    key = os.environ.get("RUNPOD_API_KEY")
    if not key:
        raise BadArgument("RUNPOD_API_KEY is not set: make a key with write access in the console, Settings > API Keys")
    url = os.environ.get("RUNPOD_API_BASE_URL", GRAPHQL_URL) + "/graphql"
    async with open_client({"Authorization": f"Bearer {key}"}) as http:
        answer = await ask(http, "POST", url, {"query": query, "variables": variables})
    if answer.get("errors"):
        raise PlatformRefused("; ".join(str(error.get("message", error)) for error in answer["errors"]))
    data: dict[str, Any] = answer["data"]
    return data
