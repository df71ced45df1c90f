"""/v2/ENDPOINT/openai/v1/...: a request in OpenAI's form becomes a job, and the job's output the answer.

Where the documentation is silent, this was chosen:
- The job is of /runsync's kind (20 MB, kept 1 min). A query string stays on `openai_route`.
- With "stream": true in the body, pieces go out as text/event-stream while they come: text as it is, anything else as
  one `data:` event. A handler that sends no pieces is answered like one that was not asked to stream.
- Without it the output is the answer; a generator's list of one is answered as that one.
- A job that did not complete is HTTP 500 with OpenAI's error envelope. A caller that hangs up cancels its job.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from local_runpod.api.request import JobRequest, raw_members
from local_runpod.api.wire import answer, read_body, require_key, while_connected
from local_runpod.control import Control
from local_runpod.errors import BadRequest
from local_runpod.rules.jobs import Job, Status


class OpenAiApi:
    def __init__(self, control: Control) -> None:
        self.control = control
        self.settings = control.settings

    def routes(self) -> list[Route]:
        return [Route("/openai/{rest:path}", self.call, methods=["GET", "POST"])]

    async def call(self, request: Request) -> Response:
        require_key(request, self.settings.api_key)
        self.control.rates.count("openai")
        body = await self._read_body(request)
        route = "/" + request.path_params["rest"] + (f"?{request.url.query}" if request.url.query else "")
        asked = {"openai_route": route, "openai_input": orjson.Fragment(body)}
        job = self.control.table.submit(
            JobRequest(asked, self.settings.execution_timeout, self.settings.ttl), sync=True
        )
        await self._wait_for(request, job, lambda: bool(job.chunks) or job.ended)
        if raw_members(body).get("stream") == b"true" and job.chunks:
            return StreamingResponse(self._events(job), media_type="text/event-stream")
        await self._wait_for(request, job, lambda: job.ended)
        return _final_answer(job)

    async def _wait_for(self, request: Request, job: Job, condition: Callable[[], bool]) -> None:
        news = self.control.signals.wait(job.id, lambda: condition() or self.control.stopping)
        try:
            await while_connected(request, news)
        except ClientDisconnect:
            self.control.table.cancel(job.id)
            raise

    async def _read_body(self, request: Request) -> bytes:
        raw = await read_body(request, self.settings.runsync_limit)
        if not raw:
            return b"{}"
        if request.headers.get("content-type", "application/json").split(";")[0].strip() != "application/json":
            raise BadRequest("the body must be JSON: the /openai routes take no multipart")
        raw_members(raw)
        if raw.lstrip()[:1] != b"{":
            raise BadRequest("the body must be a JSON object")
        return raw

    async def _events(self, job: Job) -> AsyncIterator[bytes]:
        try:
            while True:
                while job.chunks:
                    yield _event(job.chunks.popleft())
                if job.ended or self.control.stopping:
                    break
                await self.control.signals.wait(job.id, lambda: bool(job.chunks) or job.ended or self.control.stopping)
            if job.status is not Status.COMPLETED:
                yield _event(_envelope(job))
        finally:
            self.control.table.cancel(job.id)  # the caller hung up; nothing happens to a job that has ended


def _event(piece: Any) -> bytes:
    return piece.encode() if isinstance(piece, str) else b"data: " + orjson.dumps(piece) + b"\n\n"


def _envelope(job: Job) -> dict[str, Any]:
    return {
        "error": {"message": job.answer.get("error", f"job {job.status}"), "type": "server_error", "code": job.status}
    }


def _final_answer(job: Job) -> Response:
    if job.status is not Status.COMPLETED:
        return answer(_envelope(job), 500)
    output = job.answer.get("output")
    if job.streamed and isinstance(output, list) and len(output) == 1:
        output = output[0]
    return answer(output)
