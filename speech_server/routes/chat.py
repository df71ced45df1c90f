"""POST /v1/chat/completions: voice chat in front of any OpenAI-compatible language model."""

from __future__ import annotations

import importlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from types import ModuleType
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.responses import JSONResponse

from speech_server.chat.request import ChatRequest
from speech_server.pools import importing
from speech_server.routes.bodies.json_body import JsonRoute
from speech_server.routes.state import Speech, SpeechDep
from speech_server.routes.streaming import begin, sse_stream, unless_gone

DONE = b"data: [DONE]\n\n"

router = APIRouter(tags=["voice chat"], route_class=JsonRoute)


@router.post("/v1/chat/completions", response_class=JSONResponse)
async def create_chat_completion(request: Request, speech: SpeechDep, chat: ChatRequest) -> Response:
    """Audio in messages is transcribed, the rest goes to the language model of CHAT_COMPLETION_BASE_URL, and with
    `modalities` of `["text", "audio"]` its answer is spoken; streamed, sentence by sentence."""
    if chat.stream:
        return await begin(request, sse_stream(chunks(speech, chat), last=DONE), "text/event-stream")
    return JSONResponse(await unless_gone(request.receive, whole_answer(speech, chat)))


@asynccontextmanager
async def opened(speech: Speech, request: ChatRequest) -> AsyncIterator[tuple[ModuleType, Any]]:
    """What answers, and the chat to be answered."""
    # Only now, and in a thread: it takes numpy and httpx, which nobody else should wait for.
    answering = await importing.run(importlib.import_module, "speech_server.chat.answering")
    async with answering.open_chat(request, speech.settings, speech.loader, speech.answers) as chat:
        yield answering, chat


async def whole_answer(speech: Speech, request: ChatRequest) -> dict[str, Any]:
    async with opened(speech, request) as (answering, chat):
        completion: dict[str, Any] = await answering.whole(chat)
        return completion


async def chunks(speech: Speech, request: ChatRequest) -> AsyncGenerator[dict[str, Any], None]:
    async with opened(speech, request) as (answering, chat), aclosing(answering.stream(chat)) as events:
        async for event in events:
            yield event
