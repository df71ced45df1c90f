"""/api/ps: which models are in memory; load and unload."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.responses import JSONResponse

from speech_server.errors import ModelLoaded
from speech_server.models.placing import described
from speech_server.routes.state import Managed, SpeechDep

router = APIRouter(tags=["models"])


@router.get("/api/ps")
async def list_loaded(speech: SpeechDep) -> dict[str, Any]:
    """Ids of the models in memory, and beside them how much they take, how many requests use each, where they run."""
    loaded = speech.loader.loaded()
    details = [
        {
            "id": model.info.id,
            "task": model.info.task,
            "memory_bytes": model.memory_bytes,
            "gpu_memory_bytes": model.gpu_bytes,
            "references": model.references,
            "loaded_at": model.loaded_at,
            **(described(model.placement, model.cards) if model.placement else {}),
        }
        for model in loaded
    ]
    return {"models": [model.info.id for model in loaded], "details": details}


@router.post(
    "/api/ps/{model_id:path}",
    status_code=201,
    responses={409: {"description": "It is loaded already"}},
    dependencies=[Managed],
)
async def load_model(model_id: str, speech: SpeechDep) -> JSONResponse:
    """Loads a model, downloading it first if need be; it stays for its idle time."""
    if speech.loader.is_loaded(model_id):
        raise ModelLoaded(f"Model '{model_id}' is already loaded")
    await speech.loader.load(model_id)
    return JSONResponse(said(f"Model '{model_id}' loaded"), 201)


@router.delete("/api/ps/{model_id:path}", dependencies=[Managed])
async def unload_model(model_id: str, speech: SpeechDep) -> dict[str, str]:
    """Frees a model's memory; 409 while a request uses it, and the model stays."""
    await speech.loader.unload(speech.library.resolve(model_id))
    return said(f"Model '{model_id}' unloaded")


def said(text: str) -> dict[str, str]:
    """`message` is what Speaches' clients read."""
    return {"detail": text, "message": text}
