"""/health: the process answers, with its one model if it has one. /ping: ready, or 204 while models are loaded."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from starlette.responses import JSONResponse

router = APIRouter(tags=["health"])


@router.get("/health", responses={503: {"description": "Still loading WHISPER__MODEL; or the GPU is lost"}})
async def health(request: Request) -> Response:
    """Answers at once, whatever the load; `in_flight` is the number of requests being worked on.

    503 while the model that WHISPER__MODEL names is not in memory: what asks then (Kubernetes, by KubeAI's probes)
    has no other way to know, and would send requests. 503 as well once the GPU is lost: the server is about to end.
    """
    speech = request.app.state.speech
    if fault := speech.loader.fault():
        raise fault
    body = {"status": "ok", "message": "OK", "in_flight": speech.metrics.in_flight}
    if speech.catalog.only and not request.app.state.ready.is_set():
        return JSONResponse({**body, "status": "loading", "message": f"Loading {speech.catalog.only}"}, 503)
    return JSONResponse(body)


@router.get(
    "/ping",
    responses={204: {"description": "Still loading PRELOAD_MODELS"}, 503: {"description": "The GPU is lost"}},
)
async def ping(request: Request) -> Response:
    """200 when every preloaded model is in memory, 204 before: a load balancer waits for the 200."""
    if fault := request.app.state.speech.loader.fault():
        raise fault
    if not request.app.state.ready.is_set():
        return Response(status_code=204)
    return Response('{"status":"ok"}', media_type="application/json")
