"""The composition root: settings, models, routes, and the only place where the server's errors become replies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, Response

from speech_server.errors import SpeechError
from speech_server.routes import health
from speech_server.routes.auth import Auth
from speech_server.routes.envelope import envelope, error_reply
from speech_server.routes.observe import Observe, Traffic
from speech_server.routes.prefixes import Prefixes
from speech_server.routes.uploads import Uploads
from speech_server.settings import Settings, get_settings


def create_app(settings: Settings | None = None) -> FastAPI:
    settings = settings or get_settings()
    traffic = Traffic()
    app = FastAPI(
        title="runpod-speech",
        description="OpenAI-compatible speech: transcription, translation, speech, voice activity, realtime.",
        lifespan=lifespan,
        middleware=middleware(settings, traffic),
        exception_handlers={
            SpeechError: reply_to_speech_error,
            RequestValidationError: reply_to_invalid,
            HTTPException: reply_to_http_exception,
            Exception: reply_to_unexpected,
        },
    )
    app.state.settings = settings
    app.state.traffic = traffic
    app.state.ready = asyncio.Event()
    app.include_router(health.router)
    return app


def middleware(settings: Settings, traffic: Traffic) -> list[Middleware]:
    """Outermost first."""
    stack = [Middleware(Prefixes), Middleware(Observe, traffic=traffic)]
    if settings.allow_origins:
        stack.append(
            Middleware(
                CORSMiddleware,
                allow_origins=settings.allow_origins,
                allow_methods=["*"],
                allow_headers=["*"],
                expose_headers=["x-request-id"],
            )
        )
    if settings.api_key:
        stack.append(Middleware(Auth, key=settings.api_key, status=settings.auth_failure_status))
    return [*stack, Middleware(Uploads, max_upload_mb=settings.max_upload_mb)]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.ready.set()
    yield


# --- errors become replies ---

KINDS = {401: "authentication_error", 403: "authentication_error", 404: "not_found_error"}


async def reply_to_speech_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, SpeechError)
    return error_reply(error)


async def reply_to_http_exception(request: Request, error: Exception) -> Response:
    """What the framework refuses: no such route, a method it has not, a body it cannot parse."""
    assert isinstance(error, HTTPException)
    message = str(error.detail)
    if error.status_code == 404:
        message = f"No such route: {request.method} {request.url.path} (see /docs)"
    elif error.status_code == 405:
        message = f"{request.url.path} has no method {request.method} (see /docs)"
    kind = KINDS.get(error.status_code, "invalid_request_error" if error.status_code < 500 else "server_error")
    return JSONResponse(envelope(message, kind=kind), error.status_code, error.headers)


async def reply_to_invalid(request: Request, error: Exception) -> Response:
    """422 with FastAPI's list of faults, without the input: that may be a whole upload."""
    assert isinstance(error, RequestValidationError)
    faults: list[dict[str, Any]] = [
        {"type": fault["type"], "loc": list(fault["loc"]), "msg": fault["msg"]} for fault in error.errors()
    ]
    where = [".".join(str(part) for part in fault["loc"]) for fault in faults]
    message = "; ".join(f"{place}: {fault['msg']}" for place, fault in zip(where, faults, strict=True))
    param = str(faults[0]["loc"][-1]) if faults else None
    body = envelope(message, kind="invalid_request_error", param=param, code="invalid_value", detail=faults)
    return JSONResponse(body, 422)


async def reply_to_unexpected(request: Request, error: Exception) -> Response:
    """A bug, or a machine out of memory. Starlette raises it again after the reply, and uvicorn logs it."""
    request_id = getattr(request.state, "request_id", None)
    message = f"The server failed unexpectedly; its log has the reason under request {request_id}"
    return JSONResponse(envelope(message, kind="server_error", code="internal_error"), 500)
