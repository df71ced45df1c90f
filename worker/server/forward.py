"""A job's request -> the local server -> its answer, streamed both ways."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx

from outgoing import tracing
from worker.errors import InvalidJob, ReplyBrokeOff, ReplyTooLarge, ServerUnavailable
from worker.job.address import plain_text
from worker.job.media import MediaFile
from worker.job.parse import JobInput
from worker.server.supervisor import Server, Supervisor
from worker.server.transport import LoopbackTransport

_BLOCK = 1 << 20
_GIVEN_ID = 64  # characters of a job's own X-Request-ID; servers cut long ones, and the job's id must stay
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

    async def blocks(self, most: int) -> AsyncIterator[bytes]:
        """The body as it comes, `most` bytes of it. Raises ServerDied, ReplyBrokeOff, ReplyTooLarge."""
        taken = 0
        try:
            async for block in self._response.aiter_bytes():
                taken += len(block)
                if taken > most:
                    raise ReplyTooLarge(
                        f"the speech server's answer is larger than {most / 1e6:g} MB (WORKER_MAX_ANSWER_MB): ask for "
                        "less at a time, or for a compressed response_format (mp3, opus)"
                    )
                yield block
        except httpx.RequestError as error:
            broke = ReplyBrokeOff(
                f"the speech server began to answer ({self.status}, {self.content_type or 'no content type'}) and "
                f"broke off after {taken} bytes ({type(error).__name__}); its log may say why, and the same request "
                "may break off again"
            )
            raise await self._supervisor.explain(self._server, broke) from None


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
    with tracing.span("forward", trace_attributes(job), kind="client") as span:
        for is_last in (False, True):
            server = await supervisor.ensure_ready()
            request = build_request(client, server.url, job, files, headers)
            try:
                response = await client.send(request, stream=True)
                break
            except httpx.TransportError as error:
                kind = type(error).__name__
                broke = ServerUnavailable(f"the connection to the speech server broke ({kind}); try again")
                trouble = await supervisor.explain(server, broke)
                if is_last or not isinstance(error, httpx.ConnectError):
                    raise trouble from None
        server.answered.set()
        span.note({"http.response.status_code": response.status_code})
        if response.is_error:
            span.fail(str(response.status_code))
        try:
            yield Answer(response, server, supervisor)
        finally:
            await response.aclose()


def trace_attributes(job: JobInput) -> tracing.Attributes:
    return {"http.request.method": job.method, "url.path": job.path[: tracing.LONGEST_PATH]}


def request_id(job: JobInput, job_id: str) -> str:
    """What the server knows the request as: no other job's, whatever X-Request-ID this one brought."""
    given = dict(job.headers).get("x-request-id", "")
    return re.sub(r"[^!-~]", "_", f"{given[:_GIVEN_ID]}-{job_id}".lstrip("-"))  # servers take no blanks in it


def build_request(
    client: httpx.AsyncClient, base_url: str, job: JobInput, files: Sequence[MediaFile], headers: Mapping[str, str]
) -> httpx.Request:
    url = httpx.URL(base_url).copy_with(raw_path=job.path.encode())
    if job.query:
        try:
            url = url.copy_with(params=httpx.QueryParams(list(job.query)))
        except httpx.InvalidURL:
            raise InvalidJob("input.query: is longer than an address can be; put large values into body") from None
    theirs = {name: value for name, value in job.headers if name != "x-request-id"}  # request_id() holds it
    sent = {"accept-encoding": "identity", **headers, **theirs, **tracing.headers()}
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
    """Booleans are true and false, null is left out, objects are JSON. A list is sent as OpenAI's clients send one:
    each item as a field `name[]`."""
    fields: dict[str, list[str]] = {}
    for name, value in body.items():
        key = f"{name}[]" if isinstance(value, list) and not name.endswith("]") else name
        items = [item for item in (value if isinstance(value, list) else [value]) if item is not None]
        fields.setdefault(key, []).extend(
            json.dumps(item, ensure_ascii=False) if isinstance(item, (dict, list)) else plain_text(item, f"body.{name}")
            for item in items
        )
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
