"""One request to the speech API, wherever that is: over HTTP to a server, or as a job of a queue endpoint."""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO
from urllib.parse import urljoin

import httpx

from endpoint.errors import BadArgument, NoResult, Refused, Unreachable
from endpoint.platform.answers import body, piece_body
from endpoint.platform.http import HERE, Content, content_of, open_client
from endpoint.platform.jobs import Piece, State, open_jobs
from endpoint.progress import Progress
from endpoint.where import Where
from outgoing.errors import OutgoingError

CONNECT_SECONDS = 10.0
PROGRESS_SECONDS = 0.5  # between two questions how far a transcription is
RUN_LIMIT = 10_000_000  # bytes of JSON that /run takes
_ENVELOPE = 100_000

# An event of the API's own stream, or a block of the answer's bytes.
Part = dict[str, Any] | bytes


@dataclass(frozen=True, slots=True)
class Request:
    """A POST. `path` is below the API's prefix: /audio/speech. With a file the body goes out as form fields; `file_url`
    is for jobs, whose worker fetches it."""

    path: str
    body: dict[str, Any]
    file: BinaryIO | None = None
    file_name: str = ""
    streams: bool = False
    file_url: str | None = None


def answer(where: Where, request: Request, progress: Progress, seconds: float) -> AsyncGenerator[Part, None]:
    """The answer, part by part. Raises Refused with the API's own words; Unreachable, NoResult."""
    return (_from_job if where.takes_jobs else _from_server)(where, request, progress, seconds)


async def _from_server(
    where: Where, request: Request, progress: Progress, seconds: float
) -> AsyncGenerator[Part, None]:
    request_id = uuid.uuid4().hex
    sent: dict[str, Any] = {"json": request.body}
    if request.file:
        size = request.file.seek(0, os.SEEK_END)
        request.file.seek(0)
        fields = {name: _form_value(value) for name, value in request.body.items()}
        sent = {"data": fields, "files": {"file": (request.file_name, progress.sending(request.file, size))}}
    headers = {**where.headers, "X-Request-ID": request_id}
    timeout = httpx.Timeout(seconds, connect=CONNECT_SECONDS)
    try:
        async with (
            open_client(headers, timeout=timeout) as http,
            _watched(http, urljoin(where.url, f"/api/progress/{request_id}"), progress),
            http.stream("POST", where.url + request.path, **sent) as response,
        ):
            if response.is_error:
                said = _said(response.status_code, await response.aread(), where.url + request.path)
                raise Refused(said, response.status_code)
            if response.headers.get("content-type", "").startswith("text/event-stream"):
                async for line in response.aiter_lines():
                    if line.startswith("data: {"):
                        yield _event(line.removeprefix("data: "))
            else:
                async for block in response.aiter_bytes():
                    yield block
    except (httpx.HTTPError, OutgoingError) as error:
        raise Unreachable(
            f"{where.url}: {error or type(error).__name__}; is the server running? --at names another"
        ) from error


async def _from_job(where: Where, request: Request, progress: Progress, seconds: float) -> AsyncGenerator[Part, None]:
    job = job_of(request, seconds)
    async with open_jobs(where) as jobs, jobs.kept(job) as job_id:
        has_streamed = False
        try:
            async with asyncio.timeout(seconds):
                async for seen in jobs.follow(job_id, streams=request.streams):
                    if isinstance(seen, Piece):
                        has_streamed = True
                        sound = piece_body(seen.output)
                        yield sound if sound is not None else _event(json.dumps(seen.output))
                        continue
                    _show(seen, progress)
                    if seen.is_final and (output := seen.result()) is not None and not has_streamed:
                        async for block in body(output):
                            yield block
        except TimeoutError:
            raise NoResult(
                f"job {job_id} had not ended after {seconds:g} s: cancelled; --timeout gives it longer"
            ) from None


def job_of(request: Request, seconds: float, **more: Any) -> Content:
    """The body of /run, with `more` of the platform's own keys. Raises BadArgument for more than it takes."""
    asked: dict[str, Any] = {"path": f"/v1{request.path}", "method": "POST", "body": request.body}
    if request.streams:
        asked["stream"] = True
    if request.file:
        asked |= {"file_base64": HERE, "file_name": request.file_name}
    elif request.file_url:
        asked["file_url"] = request.file_url
    job = {"input": asked, "policy": {"executionTimeout": round(seconds * 1000)}, **more}
    content = content_of(job, [request.file] if request.file else [])
    if content.size > RUN_LIMIT - _ENVELOPE:
        raise BadArgument(
            f"{request.file_name or 'the request'} is {content.size / 1e6:.1f} MB as a job and the platform takes "
            f"{RUN_LIMIT / 1e6:.0f} MB: `transcribe --out DIR` sends it in pieces; or send a compressed file (opus, "
            "mp3), or put it where the worker can fetch it and `call` a job with file_url"
        )
    return content


def _show(state: State, progress: Progress) -> None:
    """The worker's progress reports say how much has been heard."""
    seen = state.output if state.status == "IN_PROGRESS" and isinstance(state.output, dict) else {}
    if isinstance(done := seen.get("seconds_done"), (int, float)):
        total = seen.get("seconds")
        progress.heard(done, total if isinstance(total, (int, float)) else None)
    else:
        progress.say({"IN_QUEUE": "waiting for a worker", "IN_PROGRESS": "at work"}.get(state.status, "sending"))


@asynccontextmanager
async def _watched(http: httpx.AsyncClient, url: str, progress: Progress) -> AsyncIterator[None]:
    """Asks the server how far it is, where somebody looks at the bar."""
    watching = asyncio.create_task(_watch(http, url, progress)) if progress.is_shown else None
    try:
        yield
    finally:
        if watching:
            watching.cancel()
            await asyncio.wait([watching])


async def _watch(http: httpx.AsyncClient, url: str, progress: Progress) -> None:
    while True:
        await asyncio.sleep(PROGRESS_SECONDS)
        try:
            reply = await http.get(url, timeout=4 * PROGRESS_SECONDS)
            if reply.is_success:
                seen = reply.json()
                progress.heard(float(seen["seconds_done"]), seen.get("seconds"))
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            continue


def _event(data: str) -> dict[str, Any]:
    event = json.loads(data)
    if not isinstance(event, dict):
        return {"text": event}
    if event.get("type") == "error":
        raise Refused(str(event["error"]["message"]))
    return event


def _form_value(value: Any) -> str | list[str]:
    if isinstance(value, list):
        return [str(_form_value(item)) for item in value]
    return value if isinstance(value, str) else json.dumps(value)


def _said(status: int, raw: bytes, url: str) -> str:
    try:
        return str(json.loads(raw)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"{url} answered {status}"
