"""What became of a job -> the HTTP answer that the server itself would have given."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.responses import JSONResponse, Response, StreamingResponse

from endpoint.errors import EndpointError, NoResult, PlatformRefused, Refused
from endpoint.gateway.work import Work
from endpoint.platform.answers import body, piece_body
from endpoint.platform.jobs import State, error_of, status_of

COMMENT_SECONDS = 10.0  # between two signs of life on an event stream
RETRY_AFTER = "5"
_PLATFORM = {401: 401, 403: 401, 404: 404, 429: 429}  # what the platform answers is the caller's business


class Problem(Exception):
    """An answer in OpenAI's envelope."""

    def __init__(self, status: int, message: str, *, kind: str = "", code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind or ("server_error" if status >= 500 else "invalid_request_error")
        self.code = code

    @property
    def error(self) -> dict[str, Any]:
        return {"message": self.message, "type": self.kind, "param": None, "code": self.code}

    def response(self) -> Response:
        extra = {"Retry-After": RETRY_AFTER} if self.status in (429, 503) else {}
        return JSONResponse({"error": self.error, "detail": self.message}, self.status, extra)


def problem_of(error: EndpointError | Problem) -> Problem:
    """For what went wrong here, or between here and the worker."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, PlatformRefused):
        return Problem(_PLATFORM.get(error.status, 502), error.message, kind="platform_error")
    if isinstance(error, Refused) and error.is_for_good:
        return Problem(error.status, error.message)
    status = 504 if isinstance(error, NoResult) else 502
    return Problem(status, error.message, kind="platform_error")


async def whole(work: Work) -> Response:
    """Raises EndpointError, Problem."""
    state = await work.until_ended()
    return await _of_output(_completed(state), _times(state))


async def streamed(work: Work) -> Response:
    """The same while it is made: sound as it comes, or events, kept alive while there are none."""
    try:
        async with asyncio.timeout(COMMENT_SECONDS):
            first = await work.piece(0)
    except TimeoutError:
        return StreamingResponse(_events(work), media_type="text/event-stream")
    if first is None:
        return await whole(work)
    if piece_body(first) is not None:
        return StreamingResponse(_sound(work), media_type=first.get("content_type"))
    return StreamingResponse(_events(work), media_type="text/event-stream")


def _completed(state: State) -> Any:
    if state.status == "COMPLETED":
        return state.output
    if state.status == "TIMED_OUT":
        raise Problem(504, f"job {state.id} took longer than it may", kind="timeout_error")
    if state.status == "CANCELLED":
        raise Problem(503, f"job {state.id} was cancelled", kind="server_error")
    said = error_of(state)
    if "message" not in said:
        raise Problem(500, str(state.error or "the job failed without a reason"))
    status = status_of(state) if 400 <= status_of(state) < 600 else 500
    raise Problem(status, str(said["message"]), kind=str(said.get("type") or ""), code=said.get("code"))


def _times(state: State) -> dict[str, str]:
    seconds = {"X-Queue-Seconds": state.queued, "X-Worker-Seconds": state.ran}
    return {"X-Job-ID": state.id, **{name: f"{value:.3f}" for name, value in seconds.items()}}


async def _of_output(output: Any, headers: dict[str, str]) -> Response:
    if not (isinstance(output, dict) and isinstance(output.get("content_type"), str)):
        return JSONResponse(output, headers=headers)
    kind = output["content_type"]
    if isinstance(output.get("audio_url") or output.get("url"), str):
        return StreamingResponse(body(output), media_type=kind, headers=headers)
    content = b"".join([block async for block in body(output)])
    return Response(content, media_type=kind, headers=headers)


async def _sound(work: Work) -> AsyncIterator[bytes]:
    async for piece in work.stream():
        yield piece_body(piece) or b""
    # Whatever ends it early ends the connection: half a file must not look like a whole one.
    _completed(await work.until_ended())


async def _events(work: Work) -> AsyncIterator[bytes]:
    number = 0
    while True:
        try:
            async with asyncio.timeout(COMMENT_SECONDS):
                piece = await work.piece(number)
        except TimeoutError:
            yield b": waiting\n\n"
            continue
        if piece is None:
            break
        number += 1
        yield _event(piece)
    try:
        output = _completed(await work.until_ended())
        if not number:
            yield _event(output)
    except (Problem, EndpointError) as error:
        yield _event({"type": "error", "error": problem_of(error).error})


def _event(piece: Any) -> bytes:
    return b"data: " + (piece.encode() if isinstance(piece, str) else json.dumps(piece).encode()) + b"\n\n"
