"""The language model behind voice chat and realtime: any server that speaks OpenAI's chat completions."""

from __future__ import annotations

import importlib
import json
import re
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import orjson

from outgoing.door import Door
from outgoing.http import async_transport
from outgoing.lookups import LookUp, system_look_up
from speech_server.errors import LanguageModelUnset, UpstreamError
from speech_server.pools import Pool, importing
from speech_server.settings import Settings

if TYPE_CHECKING:
    import httpx

BLOCK = 1 << 16  # bytes of a request sent in one piece; there are megabytes where a client adds fields of its own
POOL = Pool("llm-json", threads=1, waiting=1000)
OPENAI_SPEAKING = re.compile(r"gpt-(?:[a-z0-9.]+-)*(?:realtime|audio)(?:-[a-z0-9.]+)*")
LONGEST_REASON = 500  # characters of the language model's own words in an error


class LanguageModel:
    """One client of the language model; `open_language_model` makes and closes it."""

    def __init__(self, client: httpx.AsyncClient, url: str, own: str | None) -> None:
        """`own`: its model that stands for OpenAI's."""
        self._client = client
        self._url = url
        self._own = own

    async def complete(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The whole chat completion. Raises UpstreamError."""
        async with self._post({**body, "stream": False}) as response:
            return self._object(await response.aread())

    async def stream(self, body: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """The chunks of a streamed chat completion. Raises UpstreamError, in the middle too."""
        async with self._post({**body, "stream": True}) as response:
            if not response.headers.get("content-type", "").startswith("text/event-stream"):
                raise UpstreamError(f"The language model at {self._url} did not stream although it was asked to")
            async for line in response.aiter_lines():
                data = line.removeprefix("data:").strip() if line.startswith("data:") else ""
                if data == "[DONE]":
                    return
                if data:
                    chunk = self._object(data)
                    if "error" in chunk:
                        raise UpstreamError(f"The language model broke off: {_reason(data.encode())}")
                    yield chunk

    @asynccontextmanager
    async def _post(self, body: Mapping[str, Any]) -> AsyncIterator[httpx.Response]:
        import httpx

        try:
            if self._own and stands_for_ours(body.get("model")):
                body = {**body, "model": self._own}
            content = await POOL.run(orjson.dumps, body)
            headers = {"Content-Type": "application/json", "Content-Length": str(len(content))}
            async with self._client.stream("POST", self._url, content=_blocks(content), headers=headers) as response:
                if response.status_code != 200:
                    reason = _reason(await response.aread())
                    raise UpstreamError(
                        f"The language model at {self._url} answered {response.status_code}: {reason}",
                        code="llm_error",
                    )
                yield response
        except httpx.TimeoutException:
            raise UpstreamError(f"The language model at {self._url} was silent for too long") from None
        except httpx.TransportError as error:
            raise UpstreamError(
                f"The language model at {self._url} cannot be reached ({type(error).__name__}): is it running, and is "
                "CHAT_COMPLETION_BASE_URL right?"
            ) from None

    def _object(self, data: str | bytes) -> dict[str, Any]:
        try:
            found = json.loads(data)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise UpstreamError(f"The language model at {self._url} answered something that is no JSON object")
        return found


@asynccontextmanager
async def open_language_model(settings: Settings, look_up: LookUp = system_look_up) -> AsyncIterator[LanguageModel]:
    """Raises LanguageModelUnset when none is configured."""
    require_language_model(settings)
    httpx = await importing.run(importlib.import_module, "httpx")
    base = settings.chat_completion_base_url or ""
    key = settings.chat_completion_api_key
    # Building the context reads all certificates: 20 ms, so once, and not on the event loop.
    verify = await importing.run(_certificates) if base.startswith("https:") else False
    async with httpx.AsyncClient(
        headers={"Authorization": f"Bearer {key}"} if key else {},
        transport=async_transport(Door.of_operator(look_up), httpx, verify),
        timeout=httpx.Timeout(settings.chat_completion_timeout, connect=min(10.0, settings.chat_completion_timeout)),
    ) as client:
        yield LanguageModel(client, f"{base}/chat/completions", settings.chat_completion_model)


def stands_for_ours(name: object) -> bool:
    """Whether it names no model, or one of OpenAI's that speak. A name is short: the pattern takes its time."""
    return name is None or (isinstance(name, str) and len(name) <= 100 and bool(OPENAI_SPEAKING.fullmatch(name)))


def require_language_model(settings: Settings) -> None:
    if not settings.chat_completion_base_url:
        raise LanguageModelUnset(
            "No language model is configured: set CHAT_COMPLETION_BASE_URL to an OpenAI-compatible server "
            "(https://.../v1) and CHAT_COMPLETION_API_KEY to its key"
        )


@cache
def _certificates() -> ssl.SSLContext:
    import httpx

    return httpx.create_ssl_context()


async def _blocks(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), BLOCK):
        yield content[start : start + BLOCK]


def _reason(body: bytes) -> str:
    """The server's own words: OpenAI's envelope, or whatever it sent."""
    try:
        found: Any = json.loads(body)
        error = found.get("error", found)
        text = str(error.get("message", error) if isinstance(error, dict) else error)
    except (ValueError, AttributeError):
        text = body.decode("utf-8", "replace")
    return text[:LONGEST_REASON]
