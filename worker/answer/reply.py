"""The server's answer -> the job's output: JSON, text, base64, or a link when it is too large.

JSON                    the value itself
text, srt, vtt          {"text": ..., "content_type": ...}
server-sent events      the whole result they add up to (events.py)
audio/*                 {"status": "success", "content_type": ..., "audio_content": "<base64>"}
other bytes             {"status": "success", "content_type": ..., "data": "<base64>"}
nothing                 {"status": "success"}
too large               {"status": "success", "content_type", "audio_url" | "url", "size_bytes", "expires_at"}
status of 300 or more   ServerError
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import IO, Any

import pybase64

from worker.answer.events import parse_events, whole_result
from worker.errors import BadReply, ReplyTooLarge, ServerError, WorkerError
from worker.plain import Base64, make_plain, parse_json, plain_text
from worker.settings import Settings

_IN_MEMORY = 1 << 20
_ENVELOPE = 64_000  # bytes kept free for what the SDK and the platform put around an output
_MAX_ERROR = 2000  # characters
_TEXT_TYPES = frozenset(("application/x-subrip", "application/xml", "application/javascript", "application/yaml"))

JSON = Any


@dataclass(frozen=True, slots=True)
class Link:
    url: str
    expires_at: int  # Unix seconds


Store = Callable[[IO[bytes], str], Awaitable[Link]]  # (body, content type) -> where it is now


def result_limit(job_id: str, settings: Settings) -> int:
    """Bytes of JSON that the platform takes as this job's output."""
    is_sync = job_id.startswith("sync-")  # ids of /runsync
    return int((settings.max_result_sync_mb if is_sync else settings.max_result_mb) * 1e6) - _ENVELOPE


async def encode_reply(status: int, content_type: str, body: IO[bytes], limit: int, store: Store | None) -> JSON:
    """Raises ServerError, ReplyTooLarge, BadReply, and what `store` raises."""
    size = body.seek(0, 2)
    body.seek(0)
    if status >= 300:
        raise server_error(status, body.read(65536))
    if size == 0:
        return {"status": "success"}
    output, length = await _output(content_type, body, size, limit)
    if length <= limit:
        return output
    if store is None:
        raise ReplyTooLarge(
            f"the result is {length / 1e6:.1f} MB as JSON and the platform takes {limit / 1e6:.1f} MB: ask for a "
            "compressed response_format (mp3, opus), use /runsync (which takes more than /run), or give a bucket "
            "(s3Config in the job, or BUCKET_* in the endpoint's settings)"
        )
    body.seek(0)
    link = await store(body, content_type or "application/octet-stream")
    return {
        "status": "success",
        "content_type": content_type,
        "audio_url" if content_type.startswith("audio/") else "url": link.url,
        "size_bytes": size,
        "expires_at": link.expires_at,
    }


async def _output(content_type: str, body: IO[bytes], size: int, limit: int) -> tuple[JSON, int]:
    """The output and its size as JSON; None instead of an output that is certainly too large."""
    is_json = content_type == "application/json" or content_type.endswith("+json")
    if is_json or content_type.startswith("text/") or content_type in _TEXT_TYPES:
        if size > 4 * limit:  # \\uXXXX escapes can shrink threefold when written as UTF-8; more nothing can
            return None, size
        return make_plain(_readable(content_type, is_json, body.read()))
    encoded_size = -(-size // 3) * 4 + 200
    if encoded_size > limit:
        return None, encoded_size
    encoded = await asyncio.to_thread(_base64, body) if size > _IN_MEMORY else _base64(body)
    key = "audio_content" if content_type.startswith("audio/") else "data"
    return {"status": "success", "content_type": content_type, key: encoded}, encoded_size


def _readable(content_type: str, is_json: bool, raw: bytes) -> JSON:
    if is_json:
        try:
            return parse_json(raw)
        except ValueError:
            pass  # says JSON and is none: then it is text
    if content_type == "text/event-stream" and (whole := whole_result(parse_events(raw))) is not None:
        return whole
    return {"text": raw.decode(errors="replace"), "content_type": content_type}


def _base64(body: IO[bytes]) -> Base64:
    return Base64(pybase64.b64encode(body.read()).decode("ascii"))


def server_error(status: int, raw: bytes) -> ServerError:
    """What the server said, in OpenAI's envelope, FastAPI's `detail`, Speaches' `message`, or in no known form."""
    message, kind, code = "", "server_error" if status >= 500 else "invalid_request_error", f"http_{status}"
    try:
        said, _ = make_plain(parse_json(raw))
    except (ValueError, BadReply):
        message = raw.decode(errors="replace")
    else:
        error = said
        if isinstance(said, dict):
            error = next((said[key] for key in ("error", "detail", "message") if said.get(key)), None)
        if isinstance(error, dict):
            message = error.get("message") or json.dumps(error)
            kind = error.get("type") or kind
            code = error.get("code") or code
        elif error:
            message = error if isinstance(error, str) else json.dumps(error)
    message = plain_text(str(message)).strip()[:_MAX_ERROR] or f"the server answered {status}"
    return ServerError(message, status=status, type=str(kind), code=str(code))


def encode_error(error: WorkerError, request_id: str) -> str:
    """A job's error: one JSON string, because runpod 1.12's local API cannot carry an object there."""
    return json.dumps(
        {
            "type": error.type,
            "code": error.code,
            "status": error.status,
            "message": plain_text(error.message),
            "request_id": request_id,
            "source": error.source,
        },
        ensure_ascii=False,
    )
