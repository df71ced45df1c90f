"""POST /v1/realtime/client_secrets: keys for browsers, for a while and for sessions of one kind; and three like it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import JSONResponse

from speech_server.errors import InvalidRequest
from speech_server.realtime.protocol.config import SessionConfig, Strict
from speech_server.realtime.protocol.dialect import beta_session, ga_patch
from speech_server.realtime.protocol.events import invalid
from speech_server.realtime.protocol.outputs import new_id
from speech_server.realtime.protocol.translation import TRANSLATION, check_settings
from speech_server.routes.bodies.json_body import JsonRoute
from speech_server.routes.state import Speech, SpeechDep

router = APIRouter(tags=["realtime"], route_class=JsonRoute)

DEFAULT = SessionConfig()
NOT_BEGUN = 0  # when a session ends that nobody has opened


class ExpiresAfter(Strict):
    anchor: Literal["created_at"] = "created_at"
    seconds: int = Field(600, ge=10, le=7200, description="Seconds in which sessions can be opened with it.")


class SecretRequest(Strict):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"expires_after": {"anchor": "created_at", "seconds": 600}, "session": {"type": "realtime"}}]
        },
    )

    expires_after: ExpiresAfter = ExpiresAfter()
    session: dict[str, Any] = Field({}, description="What session.update takes: the session begins with it.")
    single_use: bool = Field(False, description="Opens one session only.")


class BetaExpiry(Strict):
    """`expires_after` in one beta route, `expires_at` in the other."""

    expires_after: ExpiresAfter = ExpiresAfter()
    expires_at: ExpiresAfter | None = None


class BetaSecretRequest(BaseModel, extra="allow", frozen=True):
    """The session's settings stand beside `client_secret`."""

    client_secret: BetaExpiry = BetaExpiry()

    @property
    def seconds(self) -> int:
        return (self.client_secret.expires_at or self.client_secret.expires_after).seconds


def session_with(patch: Mapping[str, Any], default: SessionConfig = DEFAULT) -> SessionConfig:
    """The default session with these settings. Raises InvalidRequest, naming the first that is wrong."""
    try:
        return default.updated(ga_patch(patch))
    except ValidationError as error:
        fault = invalid(error, None, "session")
        fault.param = f"session.{fault.param}"
        raise fault from None


def translation_with(patch: Mapping[str, Any]) -> SessionConfig:
    """A translation with these settings. Raises InvalidRequest, naming the first that is wrong or that it has not."""
    check_settings(patch, {"type": "translation"})
    return session_with(patch, TRANSLATION)


def issue(speech: Speech, config: SessionConfig, seconds: int, *, single_use: bool) -> dict[str, Any]:
    settings = config.model_dump(mode="json", exclude_defaults=True)
    value, expires_at = speech.secrets.issue(settings, seconds, single_use=single_use)
    return {"value": value, "expires_at": expires_at}


def issue_ga(speech: Speech, config: SessionConfig, request: SecretRequest) -> JSONResponse:
    secret = issue(speech, config, request.expires_after.seconds, single_use=request.single_use)
    return JSONResponse({**secret, "session": config.describe(new_id("sess"), NOT_BEGUN)})


def issue_beta(speech: Speech, request: BetaSecretRequest, kind: Literal["realtime", "transcription"]) -> JSONResponse:
    config = session_with({**(request.model_extra or {}), "type": kind})
    secret = issue(speech, config, request.seconds, single_use=False)
    return JSONResponse({**beta_session(config.describe(new_id("sess"), NOT_BEGUN)), "client_secret": secret})


@router.post("/v1/realtime/client_secrets", response_class=JSONResponse)
async def create_client_secret(speech: SpeechDep, request: SecretRequest) -> JSONResponse:
    """A key that a browser may have: it opens realtime sessions that begin with these settings, for a while."""
    config = session_with(request.session)
    if config.type == "translation":
        raise InvalidRequest(
            "Translations have an address of their own: POST /v1/realtime/translations/client_secrets",
            param="session.type",
        )
    return issue_ga(speech, config, request)


@router.post("/v1/realtime/translations/client_secrets", response_class=JSONResponse)
async def create_translation_secret(speech: SpeechDep, request: SecretRequest) -> JSONResponse:
    """The same for translations."""
    return issue_ga(speech, translation_with(request.session), request)


@router.post("/v1/realtime/sessions", response_class=JSONResponse)
async def create_beta_session(speech: SpeechDep, request: BetaSecretRequest) -> JSONResponse:
    """The same in the beta's shape."""
    return issue_beta(speech, request, "realtime")


@router.post("/v1/realtime/transcription_sessions", response_class=JSONResponse)
async def create_beta_transcription_session(speech: SpeechDep, request: BetaSecretRequest) -> JSONResponse:
    """The same in the beta's shape, for sessions that only write down."""
    return issue_beta(speech, request, "transcription")
