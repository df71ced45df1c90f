"""/health: the process answers, with its one model if it has one. /ping: ready, or 204 while models are loaded."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from starlette.responses import JSONResponse

from speech_server.models.catalog.arguments import requires_gpu
from speech_server.models.placing import described
from speech_server.routes.state import Speech

router = APIRouter(tags=["health"])


@router.get("/health", responses={503: {"description": "Still loading WHISPER__MODEL; or the GPU is lost"}})
async def health(request: Request) -> Response:
    """Answers at once, whatever the load; `in_flight` is the number of requests being worked on.

    `loaded` tells of each model in memory where it runs, as its library says, and `gpus` what was free of their memory
    when it had been loaded; without names of models, for nobody needs a key to ask.

    503 while the model that WHISPER__MODEL names is not in memory: what asks then (Kubernetes, by KubeAI's probes)
    has no other way to know, and would send requests. 503 as well once the GPU is lost: the server is about to end.
    """
    speech: Speech = request.app.state.speech
    if fault := speech.loader.fault():
        raise fault
    body = {
        "status": "ok",
        "message": "OK",
        "in_flight": speech.metrics.in_flight,
        "gpu_required": requires_gpu(speech.settings),
        "loaded": [
            {"engine": model.info.engine, **described(model.placement, model.cards)}
            for model in speech.loader.loaded()
            if model.placement
        ],
    }
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
