"""WS /v1/realtime: a conversation, or a transcription as it is spoken; WS /v1/realtime/translations: its English.

The protocol is in speech_server/realtime/.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from fastapi import APIRouter, WebSocket
from pydantic import BaseModel, ValidationError, field_validator
from starlette.requests import HTTPConnection
from starlette.websockets import WebSocketDisconnect

from speech_server.errors import Busy, InvalidRequest, SecretRefused, SpeechError
from speech_server.pools import importing
from speech_server.realtime.protocol.config import SessionConfig
from speech_server.realtime.protocol.events import SessionUpdate
from speech_server.realtime.protocol.updates import updated
from speech_server.routes.border.auth import presented_secret
from speech_server.routes.border.client_secrets import ClientSecret
from speech_server.routes.border.envelope import describe, error_reply
from speech_server.routes.realtime.client_secrets import session_with, translation_with
from speech_server.routes.state import Speech, SpeechDep

CLOSE_SECONDS = 1.0

log = logging.getLogger(__name__)
router = APIRouter(tags=["realtime"])


class RealtimeQuery(BaseModel, frozen=True):
    """`model` is the language model of a conversation, and the transcription model where that is the intent."""

    model: str | None = None
    intent: Literal["conversation", "transcription"] = "conversation"
    language: str | None = None
    transcription_model: str | None = None
    speech_model: str | None = None
    call_id: str | None = None

    @field_validator("call_id")
    @classmethod
    def no_calls(cls, value: str | None) -> str | None:
        if value is not None:
            raise ValueError("nobody joins a call here: its events pass over its own data channel")
        return value

    def session(self) -> dict[str, Any]:
        """As an update of the default session."""
        if self.intent == "transcription":
            return {
                "type": "transcription",
                "model": None,
                "audio": self._audio(self.transcription_model or self.model),
            }
        return {"type": "realtime", "model": self.model or None, "audio": self._audio(self.transcription_model)}

    def translation(self) -> dict[str, Any]:
        """As an update of a translation's: `model` translates, a transcription model shows the words it is of."""
        audio = self._audio(self.transcription_model)
        audio["input"]["transcription"] = audio["input"]["transcription"] or None
        return {"model": self.model or None, "audio": audio}

    def _audio(self, model: str | None) -> dict[str, Any]:
        asked = {"model": model, "language": self.language}
        transcription = {key: value for key, value in asked.items() if value}
        output = {"model": self.speech_model} if self.speech_model else {}
        return {"input": {"transcription": transcription}, "output": output}


async def hang_up(websocket: WebSocket, code: int, reason: str) -> None:
    with suppress(TimeoutError):  # a client that reads nothing does not read this either
        async with asyncio.timeout(CLOSE_SECONDS):
            await websocket.close(code, reason)


def read_query(connection: HTTPConnection) -> RealtimeQuery:
    try:
        return RealtimeQuery.model_validate(dict(connection.query_params))
    except ValidationError as error:
        fault = error.errors()[0]
        name = str(fault["loc"][0])
        raise InvalidRequest(f"{name}: {fault['msg']}", param=name) from None


def admit(
    connection: HTTPConnection, speech: Speech, *, translates: bool = False, patch: dict[str, Any] | None = None
) -> SessionConfig:
    """What the session begins with: the settings a client secret was made for, or the query, and `patch`.

    Raises SpeechError; Busy where no more sessions are taken. A secret for one use is used.
    """
    if len(speech.sessions) >= speech.settings.realtime_max_sessions:
        raise Busy(f"{len(speech.sessions)} realtime sessions are open, no more are taken: try again later")
    config, secret = choose_session(connection, speech, translates=translates)
    if patch:
        config = updated(config, SessionUpdate(type="session.update", session=patch))
    if secret:
        speech.secrets.spend(secret)
    return config


def choose_session(
    connection: HTTPConnection, speech: Speech, *, translates: bool
) -> tuple[SessionConfig, ClientSecret | None]:
    query = read_query(connection)
    value = presented_secret(connection.scope, speech.settings.api_key)
    if value is None:
        return translation_with(query.translation()) if translates else session_with(query.session()), None
    secret = speech.secrets.read(value)
    config = session_with(secret.session)
    if (config.type == "translation") != translates:
        right = "/v1/realtime" if translates else "/v1/realtime/translations"
        raise SecretRefused(f"This client secret opens {right} and nothing else", code="client_secret_for_another")
    if config.type == "realtime" and config.model is None:
        config = config.updated({"model": query.model or None})
    return config, secret


@dataclass
class ClientSocket:
    """What a session sees of the WebSocket."""

    _websocket: WebSocket
    media = None

    async def receive(self) -> str | bytes | None:
        message = await self._websocket.receive()
        if message["type"] == "websocket.disconnect":
            return None
        text: str | None = message.get("text")
        return text if text is not None else bytes(message.get("bytes") or b"")

    async def send(self, text: str) -> None:
        with suppress(WebSocketDisconnect):  # the next receive says so
            await self._websocket.send_text(text)


@router.websocket("/v1/realtime")
async def realtime(websocket: WebSocket, speech: SpeechDep) -> None:
    """OpenAI's Realtime API over a WebSocket."""
    await serve(websocket, speech, translates=False)


@router.websocket("/v1/realtime/translations")
async def translations(websocket: WebSocket, speech: SpeechDep) -> None:
    """OpenAI's live translation over a WebSocket."""
    await serve(websocket, speech, translates=True)


async def serve(websocket: WebSocket, speech: Speech, *, translates: bool) -> None:
    """One session, from the handshake to the end."""
    # Only now, and in a thread: it takes numpy, which no start of the server and no other request should wait for.
    live = await importing.run(importlib.import_module, "speech_server.realtime.live.run")
    settings = speech.settings
    try:
        config = admit(websocket, speech, translates=translates)
    except SpeechError as error:
        await websocket.send_denial_response(error_reply(error))
        return
    offered = websocket.scope["subprotocols"]
    speech.sessions.add(websocket)
    try:
        await websocket.accept("realtime" if "realtime" in offered else None)
        beta = websocket.headers.get("openai-beta") == "realtime=v1" or "openai-beta.realtime-v1" in offered
        reason = await live.run_session(
            ClientSocket(websocket), config, settings, speech.loader, beta=beta, sessions=lambda: len(speech.sessions)
        )
        log.info("realtime session over: %s", reason)
        if reason != "client_left":
            await hang_up(websocket, 1000, reason)
    except SpeechError as error:
        await websocket.send_json({"type": "error", "event_id": "event_last", **describe(error)})
        await hang_up(websocket, 1011, error.code or error.type)
    finally:
        speech.sessions.discard(websocket)
