"""Trouble on purpose: refused results, cut connections, 429, delay. An ASGI layer around the whole API."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from local_runpod.settings import Settings

CUT = "local_runpod.cut"  # the scope extension by which server.py lets go of a connection
WORKER_CALLS = frozenset({"job-take", "job-take-batch", "job-done", "job-stream", "job-stop", "ping"})
# A 429 there loses a result for good (runpod 1.12 tries only 5xx again), which is what refuse_results is for.
NEVER_BUSY = frozenset({"job-done", "job-stream"})


@dataclass
class Trouble:
    """Probabilities from 0 to 1, and seconds. Changed while running through POST /admin/trouble."""

    refuse_results: float = 0.0
    refuse_status: int = 500
    drop_connections: float = 0.0
    busy: float = 0.0
    delay: float = 0.0
    counts: dict[str, int] = field(default_factory=lambda: {"refused": 0, "dropped": 0, "busy": 0})
    dice: random.Random = field(default_factory=random.Random)

    @classmethod
    def of(cls, settings: Settings) -> Trouble:
        return cls(**{name: getattr(settings, name) for name in KNOBS})

    def strikes(self, kind: str, probability: float) -> bool:
        struck = self.dice.random() < probability
        self.counts[kind] += struck
        return struck


KNOBS = ("refuse_results", "refuse_status", "drop_connections", "busy", "delay")


class Troubled:
    """The app with trouble in front of it: before it runs, or after it ran and before its answer arrives."""

    def __init__(self, app: ASGIApp, trouble: Trouble) -> None:
        self.app = app
        self.trouble = trouble

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = _call_name(scope)
        if call is None:
            await self.app(scope, receive, send)
            return
        trouble = self.trouble
        if trouble.delay:
            await asyncio.sleep(trouble.dice.uniform(0, trouble.delay))
        if call not in NEVER_BUSY and trouble.strikes("busy", trouble.busy):
            await _refuse(receive, send, 429)
        elif call == "job-done" and trouble.strikes("refused", trouble.refuse_results):
            await _refuse(receive, send, trouble.refuse_status)
        elif call in WORKER_CALLS and trouble.strikes("dropped", trouble.drop_connections):
            if trouble.dice.random() < 0.5:
                await self.app(scope, receive, _swallow)
            scope["extensions"][CUT][CUT]()
        else:
            await self.app(scope, receive, send)


def _call_name(scope: Scope) -> str | None:
    """`run`, `job-done`, ... of /v2/ENDPOINT/CALL/...; None for anything else, which never has trouble."""
    parts = scope.get("path", "").split("/")
    return parts[3] if len(parts) > 3 and parts[1] == "v2" else None


async def _swallow(message: Message) -> None:
    """The answer is lost on its way."""


async def _refuse(receive: Receive, send: Send, status: int) -> None:
    while (message := await receive())["type"] == "http.request" and message.get("more_body"):
        pass
    body: bytes = orjson.dumps({"error": "trouble on purpose"})
    headers: list[Any] = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
