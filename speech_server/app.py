"""The composition root: settings, models, routes, and the only place where the server's errors become replies."""

from __future__ import annotations

import asyncio
import functools
import importlib
import itertools
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from speech_server import playground
from speech_server.engines.interfaces import Engine, EngineArgs
from speech_server.errors import Busy, GpuUnavailable, SpeechError
from speech_server.models.catalog.arguments import requires_gpu
from speech_server.models.catalog.info import STT, TASKS, EngineName
from speech_server.models.library.catalog import Catalog
from speech_server.models.library.store import Store
from speech_server.models.loader import Loader
from speech_server.models.placing import check_gpu
from speech_server.models.watchdog import watch
from speech_server.pools import importing
from speech_server.routes import (
    chat,
    health,
    metrics,
    models,
    openapi,
    speech,
    transcriptions,
    vad,
    voices,
)
from speech_server.routes.bodies.uploads import Uploads
from speech_server.routes.border.auth import Auth
from speech_server.routes.border.client_secrets import ClientSecrets
from speech_server.routes.border.crowd import Crowd
from speech_server.routes.border.envelope import envelope, error_reply
from speech_server.routes.border.observe import Observe
from speech_server.routes.border.prefixes import Prefixes
from speech_server.routes.border.visitors import Visitors
from speech_server.routes.realtime import calls, client_secrets, sessions
from speech_server.routes.state import Speech
from speech_server.settings import Settings, get_settings

log = logging.getLogger(__name__)

ROUTES = (
    health, metrics, models, transcriptions, speech, vad, voices, chat, sessions, calls,
    client_secrets,
)  # fmt: skip
PRELOAD_RETRY = 2.0  # seconds


def create_app(settings: Settings | None = None, stop: Callable[[], None] | None = None) -> FastAPI:
    """The server. `stop` is called when a model of PRELOAD_MODELS cannot be loaded, or a library does not
    return, or a GPU that has to be there is not: a server that cannot do what it was made for should be replaced."""
    settings = settings or get_settings()
    state = compose(settings)
    app = FastAPIOffline(  # /docs and /redoc load nothing from elsewhere
        title="runpod-speech",
        description="OpenAI-compatible speech: transcription, translation, speech, voice activity, realtime.",
        lifespan=functools.partial(lifespan, stop=stop),
        middleware=middleware(settings, state.metrics, state.secrets),
        # FastAPI's own spans hold queries, its logs the words of errors: what is traced is in border/observe.py.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
        exception_handlers={
            SpeechError: reply_to_speech_error,
            RequestValidationError: reply_to_invalid,
            HTTPException: reply_to_http_exception,
            ClientDisconnect: reply_to_nobody,
            Exception: reply_to_unexpected,
        },
    )
    app.openapi = functools.partial(openapi.document, app)  # type: ignore[method-assign]  # FastAPI's own way
    app.state.speech = state
    app.state.ready = asyncio.Event()
    for module in (*ROUTES, *((playground,) if settings.enable_ui else ())):
        app.include_router(module.router)
    return app


def compose(settings: Settings) -> Speech:
    catalog = Catalog(settings)
    catalog.remember()
    store = Store(settings, catalog)
    loader = Loader(settings, catalog, store, {engine: functools.partial(load, engine) for engine in TASKS})
    counters, secrets = metrics.Metrics(loader.loaded), ClientSecrets(settings.api_key)
    return Speech(settings, catalog, loader.library, loader, counters, secrets=secrets)


def load(engine: EngineName, folder: Path, args: EngineArgs) -> Engine:
    """Imports its engine's libraries, when the first model needs them."""
    loaded: Engine = importlib.import_module(f"speech_server.engines.{engine}.engine").load(folder, args)
    return loaded


def middleware(settings: Settings, counters: metrics.Metrics, secrets: ClientSecrets) -> list[Middleware]:
    """Outermost first."""
    stack = [Middleware(Prefixes), Middleware(Observe, metrics=counters)]
    if settings.allow_origins:
        stack.append(
            Middleware(
                CORSMiddleware,
                allow_origins=settings.allow_origins,
                allow_methods=["*"],
                allow_headers=["*"],
                expose_headers=["x-request-id", "location"],
            )
        )
    if settings.api_key:
        stack.append(Middleware(Auth, key=settings.api_key, status=settings.auth_failure_status, secrets=secrets))
    else:
        stack.append(
            Middleware(
                Visitors,
                address=settings.uvicorn_host,
                origins=settings.allow_origins,
                hosts=settings.allowed_hosts,
            )
        )
    return [
        *stack,
        Middleware(Crowd, most=settings.max_concurrent_requests),
        Middleware(Uploads, settings=settings, forms=frozenset(openapi.FORMS)),
    ]


@asynccontextmanager
async def lifespan(app: FastAPI, stop: Callable[[], None] | None) -> AsyncIterator[None]:
    """Requests are answered while models are preloaded; /ping says when all are there."""
    loader: Loader = app.state.speech.loader
    tasks = [asyncio.create_task(preload(app, stop)), asyncio.create_task(watch(loader.trouble, stop))]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        trouble = loader.trouble()
        await app.state.speech.calls.close()
        await loader.close()
        if trouble:  # once more: whoever asks why it ended sees the last lines
            log.critical("ended because of this: %s", trouble)


async def preload(app: FastAPI, stop: Callable[[], None] | None) -> None:
    state: Speech = app.state.speech
    await anyio.lowlevel.checkpoint()  # imports anyio's backend now, not during the first request
    named = [model.id for model in state.catalog.named.values() if model.preload]
    only = [state.catalog.only] if state.catalog.only else []
    try:
        if requires_gpu(state.settings):
            await importing.run(check_gpu, state.settings)
        await asyncio.gather(*(fetch_and_load(state, name) for name in (*state.settings.preload_models, *named, *only)))
        for name in only:
            state.loader.check(name, STT)  # it is to answer transcriptions
    except GpuUnavailable as error:
        log.error("%s", error.message)
    except SpeechError as error:
        log.error("preloading failed: %s", error.message)
    except Exception:  # a bug, or a machine out of memory or threads: never ready, if it went on
        log.exception("preloading failed")
    else:
        app.state.ready.set()
        return
    if stop:
        stop()


async def fetch_and_load(state: Speech, name: str) -> None:
    model_id = state.library.resolve(name)
    while True:
        try:
            await state.library.pull(model_id)
            break
        except Busy as error:  # the operator's list may be longer than the line of pulls
            await asyncio.sleep(min(error.retry_after, PRELOAD_RETRY))
    await state.loader.keep(model_id)
    log.info("model %s is in memory", model_id)


# --- errors become replies ---

MOST_FAULTS = 20
KINDS = {401: "authentication_error", 403: "authentication_error", 404: "not_found_error"}


async def reply_to_speech_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, SpeechError)
    return error_reply(error)


async def reply_to_http_exception(request: Request, error: Exception) -> Response:
    """What the framework refuses: no such route, a method it has not; and what it let us raise only as its own."""
    assert isinstance(error, HTTPException)
    if isinstance(error.__cause__, SpeechError):
        return error_reply(error.__cause__)
    message = str(error.detail)
    if error.status_code == 404:
        message = f"No such route: {request.method} {request.url.path} (see /docs)"
    elif error.status_code == 405:
        message = f"{request.url.path} has no method {request.method} (see /docs)"
    kind = KINDS.get(error.status_code, "invalid_request_error" if error.status_code < 500 else "server_error")
    body = envelope(message, kind=kind, code=f"http_{error.status_code}")  # as in a job's error
    return JSONResponse(body, error.status_code, error.headers)


async def reply_to_invalid(request: Request, error: Exception) -> Response:
    """422 with FastAPI's list of faults, without the input: that may be a whole upload."""
    assert isinstance(error, RequestValidationError)
    faults = [described(fault) for fault in itertools.islice(error.errors(), MOST_FAULTS)]
    where = [".".join(str(part) for part in fault["loc"]) for fault in faults]
    message = "; ".join(f"{place}: {fault['msg']}" for place, fault in zip(where, faults, strict=True))
    param = str(faults[0]["loc"][-1]) if faults else None
    body = envelope(message, kind="invalid_request_error", param=param, code="invalid_value", detail=faults)
    return JSONResponse(body, 422)


def described(fault: Mapping[str, Any]) -> dict[str, Any]:
    message = str(fault["msg"])
    if fault["type"] == "json_invalid":
        message = f"{message}: {fault['ctx']['error']}"  # where and why
    return {"type": fault["type"], "loc": list(fault["loc"]), "msg": message}


async def reply_to_nobody(request: Request, error: Exception) -> Response:
    """The client went away; the status is for the log (nginx's)."""
    return Response(status_code=499)


async def reply_to_unexpected(request: Request, error: Exception) -> Response:
    """A bug, or a machine out of memory. Starlette raises it again after the reply, and uvicorn logs it."""
    request_id = getattr(request.state, "request_id", None)
    message = f"The server failed unexpectedly; its log has the reason under request {request_id}"
    headers = {"x-request-id": request_id} if request_id else None
    return JSONResponse(envelope(message, kind="server_error", code="internal_error"), 500, headers)
