"""POST /v1/realtime/calls: a realtime session over WebRTC; its sound goes over tracks, its events over a data channel.

POST /v1/realtime with an SDP offer is the same as Speaches and OpenAI's beta have it.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response

from speech_server.errors import CallsUnavailable, InvalidRequest, RequestTooLarge, SpeechError
from speech_server.pools import importing
from speech_server.realtime.protocol.config import SessionConfig
from speech_server.realtime.protocol.outputs import new_id
from speech_server.routes.bodies.form import read_form
from speech_server.routes.bodies.json_body import parse_json
from speech_server.routes.border.envelope import describe
from speech_server.routes.realtime.sessions import admit
from speech_server.routes.state import Speech, SpeechDep

if TYPE_CHECKING:
    from speech_server.realtime.live.call import Call

LONGEST_OFFER = 64_000  # characters; a browser's has some 5,000
SDP = "application/sdp"
INSTEAD = "use the WebSocket /v1/realtime"

log = logging.getLogger(__name__)
router = APIRouter(tags=["realtime"])


@router.post("/v1/realtime/calls", status_code=201, response_class=Response)
async def create_call(request: Request, speech: SpeechDep) -> Response:
    """OpenAI's: the offer in a form's `sdp`, beside it the `session`; or the offer alone. Answers with an SDP."""
    return await begin(request, speech, 201)


@router.post("/v1/realtime", response_class=Response)
async def create_session(request: Request, speech: SpeechDep) -> Response:
    """Speaches', and OpenAI's beta: the offer alone; `model` and the like in the query."""
    return await begin(request, speech, 200)


@router.post("/v1/realtime/calls/{call_id}/hangup", response_class=Response)
async def hang_up(speech: SpeechDep, call_id: str) -> Response:
    """Ends a call."""
    speech.calls.hang_up(call_id)
    return Response()


async def begin(request: Request, speech: Speech, status: int) -> Response:
    """The answer to the offer, and where the new call is."""
    calls = await open_library(speech)
    live = await importing.run(importlib.import_module, "speech_server.realtime.live.run")
    offer, patch = await read_body(request)
    config = admit(request, speech, patch=patch)
    call = calls.Call(speech.settings)
    speech.sessions.add(call)
    try:
        answer = await call.answer(offer)
    except BaseException:
        speech.sessions.discard(call)
        await call.close()
        raise
    call_id = new_id("rtc")
    speech.calls.hold(call_id, hold(call, config, speech, live))
    return Response(answer, status, {"Location": f"/v1/realtime/calls/{call_id}"}, SDP)


async def open_library(speech: Speech) -> Any:
    """speech_server.realtime.live.call, which takes aiortc. Raises CallsUnavailable."""
    if not speech.settings.realtime_calls:
        raise CallsUnavailable(
            f"This server takes no calls over WebRTC, as no UDP reaches it (REALTIME_CALLS is off): {INSTEAD}"
        )
    if find_spec("aiortc") is None:
        raise CallsUnavailable(
            "WebRTC is not installed on this server: its operator can run `make webrtc`, or `pip install "
            f"--require-hashes -r requirements/webrtc.txt`; or {INSTEAD}"
        )
    return await importing.run(importlib.import_module, "speech_server.realtime.live.call")


async def read_body(request: Request) -> tuple[str, dict[str, Any]]:
    """The offer, and what the session is to be set to. Raises InvalidRequest."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":

        async def any_field(_name: str, _value: str) -> None:
            return

        async with read_form(request, frozenset(), any_field) as form:
            fields = dict(form.fields)
        offer, session = fields.get("sdp", ""), fields.get("session", "{}")
    else:  # Speaches' page names no type
        offer, session = (await request.body()).decode("utf-8", "replace"), "{}"
    if len(offer) > LONGEST_OFFER:
        raise RequestTooLarge(f"The offer has more than {LONGEST_OFFER} characters", param="sdp")
    if not offer.strip():
        raise InvalidRequest("There is no offer: send it as `sdp` of a form, or alone as application/sdp", param="sdp")
    try:
        patch = parse_json(session.encode())
    except json.JSONDecodeError:
        raise InvalidRequest("session is not JSON", param="session") from None
    if not isinstance(patch, dict):
        raise InvalidRequest("session is not a JSON object", param="session")
    return offer, patch


async def hold(call: Call, config: SessionConfig, speech: Speech, live: Any) -> None:
    """One call, from its answer to the end."""
    settings = speech.settings
    try:
        reason = "not_connected"
        if await call.connected():
            sessions = lambda: len(speech.sessions)  # noqa: E731
            reason = await live.run_session(call, config, settings, speech.loader, beta=False, sessions=sessions)
        log.info("realtime call over: %s", reason)
    except SpeechError as error:
        async with asyncio.timeout(settings.realtime_send_timeout):
            await call.send(json.dumps({"type": "error", "event_id": "event_last", **describe(error)}))
    finally:
        speech.sessions.discard(call)
        await call.close()
