"""A job's request -> the local server -> its answer, streamed both ways."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx

from worker.address import plain_text
from worker.job import JobInput
from worker.media import MediaFile
from worker.supervisor import Server, Supervisor
from worker.transport import LoopbackTransport

_BLOCK = 1 << 20
_CONNECT_SECONDS = 5.0  # loopback
# uvicorn closes idle connections after 5 s: never reuse one that it may be closing.
_KEEPALIVE_SECONDS = 4.0


def open_client() -> httpx.AsyncClient:
    """The one client of a worker's life. Waiting for an answer has no limit here: the job has one."""
    return httpx.AsyncClient(
        transport=LoopbackTransport(_KEEPALIVE_SECONDS),
        trust_env=False,  # a proxy of the environment must not see loopback
        timeout=httpx.Timeout(None, connect=_CONNECT_SECONDS),
    )


class Answer:
    """The server's answer, whose body is still on its way."""

    def __init__(self, response: httpx.Response, server: Server, supervisor: Supervisor) -> None:
        self._response = response
        self._server = server
        self._supervisor = supervisor
        self.base_url = server.url
        self.status = response.status_code
        self.headers = response.headers
        self.content_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()

    async def blocks(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises ServerUnavailable."""
        try:
            async for block in self._response.aiter_bytes():
                yield block
        except httpx.TransportError as error:
            raise await self._supervisor.explain(self._server, type(error).__name__) from None


@asynccontextmanager
async def forward(
    client: httpx.AsyncClient,
    supervisor: Supervisor,
    job: JobInput,
    files: Sequence[MediaFile],
    headers: Mapping[str, str],
) -> AsyncIterator[Answer]:
    """Leaving the context closes the connection, which stops the server's work on it. Raises ServerUnavailable.

    A request of which nothing was sent goes to the next server, once.
    """
    for is_last in (False, True):
        server = await supervisor.ensure_ready()
        request = build_request(client, server.url, job, files, headers)
        try:
            response = await client.send(request, stream=True)
            break
        except httpx.TransportError as error:
            trouble = await supervisor.explain(server, type(error).__name__)
            if is_last or not isinstance(error, httpx.ConnectError):
                raise trouble from None
    server.answered.set()
    try:
        yield Answer(response, server, supervisor)
    finally:
        await response.aclose()


def build_request(
    client: httpx.AsyncClient, base_url: str, job: JobInput, files: Sequence[MediaFile], headers: Mapping[str, str]
) -> httpx.Request:
    url = httpx.URL(base_url).copy_with(raw_path=job.path.encode())
    if job.query:
        url = url.copy_with(params=httpx.QueryParams(list(job.query)))
    sent = {"accept-encoding": "identity", **headers, **dict(job.headers)}
    if files:
        form = httpx.Request(job.method, url, data=_form_fields(job.body or {}), files=_form_files(files))
        sent |= {"content-type": form.headers["content-type"], "content-length": form.headers["content-length"]}
        assert isinstance(form.stream, httpx.SyncByteStream)
        return client.build_request(job.method, url, headers=sent, content=_in_blocks(iter(form.stream)))
    if job.body is None:
        return client.build_request(job.method, url, headers=sent)
    content = json.dumps(job.body, ensure_ascii=False, allow_nan=False).encode()
    return client.build_request(job.method, url, headers={**sent, "content-type": "application/json"}, content=content)


def _form_fields(body: Mapping[str, Any]) -> dict[str, list[str]]:
    """Lists repeat their name, booleans are true and false, null is left out, objects are JSON."""
    fields: dict[str, list[str]] = {}
    for name, value in body.items():
        items = [item for item in (value if isinstance(value, list) else [value]) if item is not None]
        fields[name] = [
            json.dumps(item, ensure_ascii=False) if isinstance(item, (dict, list)) else plain_text(item, f"body.{name}")
            for item in items
        ]
    return fields


def _form_files(files: Sequence[MediaFile]) -> list[tuple[str, tuple[str, Any, str]]]:
    for part in files:
        part.file.seek(0)  # a second attempt begins at the beginning
    return [(part.field, (part.name, part.file, part.content_type)) for part in files]


async def _in_blocks(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Reads from disk in a thread, a block at a time: a network volume may be slow."""
    while block := await asyncio.to_thread(_next_block, chunks):
        yield block


def _next_block(chunks: Iterator[bytes]) -> bytes:
    block = bytearray()
    for chunk in chunks:
        block += chunk
        if len(block) >= _BLOCK:
            break
    return bytes(block)
