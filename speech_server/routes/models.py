"""/v1/models, /v1/registry, /v1/audio/models and voices: what is installed, what could be; download and remove.

/api/ps: which models are in memory; load and unload.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from starlette.responses import JSONResponse

from speech_server.domain import Voice
from speech_server.errors import ModelLoaded
from speech_server.models.catalog.info import TTS, ModelInfo, Task
from speech_server.models.placing import described
from speech_server.routes.state import Managed, Speech, SpeechDep
from speech_server.routes.streaming import begin, sse_stream, unless_gone

router = APIRouter(tags=["models"])
# Speaches' clients also ask for a task that no model here does alone.
AnyTask = Task | Literal["speaker-diarization"]


@router.get("/v1/models")
async def list_models(speech: SpeechDep, task: AnyTask | None = None) -> dict[str, Any]:
    """The installed models, and the aliases that name one of them (`root` says which)."""
    return {"object": "list", "data": await installed(speech, task)}


@router.get("/v1/audio/models")
async def list_audio_models(speech: SpeechDep) -> dict[str, Any]:
    """The installed text-to-speech models, as Open WebUI asks for them."""
    return {"object": "list", "models": await installed(speech, TTS)}


@router.get("/v1/audio/voices")
async def list_voices(speech: SpeechDep) -> dict[str, Any]:
    """Every voice of the installed models, and which model it belongs to."""
    models = await speech.library.installed()
    voices = [{**voice_entry(voice), "model_id": model.id} for model in models for voice in model.voices]
    return {"object": "list", "voices": voices}


@router.get("/v1/registry")
async def list_registry(speech: SpeechDep, task: AnyTask | None = None) -> dict[str, Any]:
    """What could be installed; answered from the server's own catalog, without a network."""
    return {"object": "list", "data": [entry(model) for model in speech.catalog.known() if task in (None, model.task)]}


@router.get("/v1/models/{model_id:path}")
async def get_model(model_id: str, speech: SpeechDep) -> dict[str, Any]:
    """One installed model, by its id or an alias."""
    found = speech.catalog.installed_model(await speech.library.seek(model_id))
    if found is None:
        raise speech.library.missing(model_id)
    return entry(found)


@router.post(
    "/v1/models/{model_id:path}",
    responses={201: {"description": "It is installed already"}},
    dependencies=[Managed],
)
async def download_model(model_id: str, request: Request, speech: SpeechDep) -> Response:
    """Downloads a model. With `Accept: text/event-stream` the progress comes as server-sent events.

    Who asks for a model that is being downloaded waits for that download. A client that goes away leaves it running:
    asked again, it finds the model there.
    """
    resolved = await speech.library.seek(model_id)
    if speech.catalog.folder(resolved) is not None:
        return JSONResponse({"detail": f"Model '{model_id}' already exists"}, 201)
    speech.library.require_pullable(resolved)
    if "text/event-stream" in request.headers.get("accept", ""):
        return await begin(request, sse_stream(downloading(speech, resolved)), "text/event-stream")
    await unless_gone(request.receive, speech.library.pull(resolved))
    return JSONResponse({"detail": f"Model '{model_id}' downloaded"})


async def downloading(speech: Speech, model_id: str) -> AsyncGenerator[dict[str, Any], None]:
    async with aclosing(speech.library.pull_in_steps(model_id)) as steps:
        async for step in steps:
            yield {
                "type": "progress",
                "model": model_id,
                "status": step.label,
                "completed": step.done,
                "total": step.total,
            }
    yield {"type": "done", "model": model_id, "status": "downloaded"}


@router.delete("/v1/models/{model_id:path}", dependencies=[Managed])
async def delete_model(model_id: str, speech: SpeechDep) -> dict[str, str]:
    """Unloads a model and removes it from the disk; 409 while a request uses it."""
    await speech.loader.remove(await speech.library.seek(model_id))
    return {"detail": f"Model '{model_id}' deleted"}


async def installed(speech: Speech, task: AnyTask | None) -> list[dict[str, Any]]:
    models = {model.id: model for model in await speech.library.installed()}
    aliases = {alias: models[target] for alias, target in speech.catalog.aliases.items() if target in models}
    entries = [entry(model) for model in models.values()]
    entries += [{**entry(model), "id": alias, "root": model.id} for alias, model in sorted(aliases.items())]
    return [found for found in entries if task in (None, found["task"])]


def entry(model: ModelInfo) -> dict[str, Any]:
    """A model as OpenAI's and Speaches' clients know it."""
    common = {
        "id": model.id,
        "object": "model",
        "created": model.created,
        "owned_by": model.owned_by,
        "language": list(model.languages),
        "task": model.task,
    }
    if model.task != TTS:
        return common
    return {**common, "sample_rate": model.sample_rate, "voices": [voice_entry(voice) for voice in model.voices]}


def voice_entry(voice: Voice) -> dict[str, Any]:
    # A client may send back either, and Speaches' clients send the name.
    return {"id": voice.id, "name": voice.id, "language": voice.language, "gender": voice.gender}


# --- in memory ---


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
