"""/health: the process answers. /ping: it is ready, or 204 while models are still being loaded."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

router = APIRouter(tags=["health"])


@router.get("/health")
async def health(request: Request) -> dict[str, Any]:
    """Answers at once, whatever the load; `in_flight` is the number of requests being worked on."""
    return {"status": "ok", "message": "OK", "in_flight": request.app.state.speech.metrics.in_flight}


@router.get("/ping", responses={204: {"description": "Still loading PRELOAD_MODELS"}})
async def ping(request: Request) -> Response:
    """200 when every preloaded model is in memory, 204 before: a load balancer waits for the 200."""
    if not request.app.state.ready.is_set():
        return Response(status_code=204)
    return Response('{"status":"ok"}', media_type="application/json")
