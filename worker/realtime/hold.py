"""Holds a job open and bridges one WebSocket to the server: realtime on a queue endpoint.

The platform passes no WebSocket to a queue worker. So the worker listens on a TCP port of its own, exposed by the
endpoint's setting, and tells the client through the job's progress where, and with which token:

    {"realtime": {"url": "ws://1.2.3.4:40123/v1/realtime", "token": "...", "expires_at": 1790000000}}

The job's output is what the session was:

    {"status": "success", "reason": "client_left", "seconds", "audio_seconds_in", "audio_seconds_out", "turns"}
"""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlencode

from outgoing import tracing
from worker.errors import RealtimeUnavailable
from worker.job.parse import JobInput
from worker.realtime.door import Door
from worker.realtime.meter import Meter
from worker.realtime.visit import Visit
from worker.settings import Settings

# One for the worker: all sessions share the port, which is open only while one of them waits or talks.
_door = Door()


async def hold_session(
    request: JobInput,
    settings: Settings,
    base_url: str,
    progress: Callable[[dict[str, Any]], Awaitable[None]],
    door: Door = _door,
) -> dict[str, Any]:
    """Until the session ends, goes idle, reaches its limit, or nobody comes; the job's output.

    Raises RealtimeUnavailable when the port is not set or taken, ServerError when the server refuses the session.
    """
    if settings.realtime_port == 0:
        raise RealtimeUnavailable(
            "realtime sessions are off on this worker: set WORKER_REALTIME_PORT, and expose that TCP port in the "
            "endpoint's settings"
        )
    began = time.monotonic()
    meter = Meter()
    visit = Visit(upstream_url(base_url, request), upstream_headers(request, settings), meter, settings)
    async with door.open_for(visit, settings) as port:
        url = public_url(settings, port, request.path, os.environ)
        await progress({"realtime": {"url": url, "token": visit.token, "expires_at": int(visit.expires_at)}})
        reason = await visit.until_over(time_limit(request, settings))
    return {
        "status": "success",
        "reason": reason,
        "seconds": round(time.monotonic() - began, 3),
        "audio_seconds_in": round(meter.heard, 3),
        "audio_seconds_out": round(meter.spoken, 3),
        "turns": meter.turns,
    }


def time_limit(request: JobInput, settings: Settings) -> float:
    """A little less than the job has: its output should be the summary, not an error."""
    job_limit = request.time_limit(settings.job_timeout)
    return min(settings.realtime_max_seconds, max(job_limit - 1.0, job_limit / 2))


def upstream_url(base_url: str, request: JobInput) -> str:
    query = f"?{urlencode(request.query)}" if request.query else ""
    return f"ws{base_url.removeprefix('http')}{request.path}{query}"


def upstream_headers(request: JobInput, settings: Settings) -> dict[str, str]:
    headers = {**dict(request.headers), **tracing.headers()}
    if settings.server_api_key:
        headers.setdefault("authorization", f"Bearer {settings.server_api_key}")
    return headers


def public_url(settings: Settings, port: int, path: str, environ: Mapping[str, str]) -> str:
    """Where a client reaches the port: on Runpod another one of another address, at home this very one."""
    # Runpod names the outer port of each exposed TCP port in RUNPOD_TCP_PORT_<inner port>.
    outer = environ.get(f"RUNPOD_TCP_PORT_{port}", str(port))
    scheme = "wss" if settings.realtime_certificate else "ws"
    host = settings.public_ip or "127.0.0.1"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{outer}{path}"
