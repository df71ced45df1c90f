"""The jobs of one queue endpoint: run, watch, cancel. The only client of Runpod's jobs API in the project."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from endpoint.errors import Refused
from endpoint.platform import ask, open_client
from endpoint.where import Where
from outgoing.lookups import LookUp, system_look_up

FINAL = frozenset({"COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"})
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 2.0  # seconds between two questions about a job


@dataclass(frozen=True, slots=True)
class State:
    """What the platform says of a job. `output` is its progress while it runs; times are in seconds."""

    id: str
    status: str
    output: Any = None
    error: Any = None
    queued: float = 0.0
    ran: float = 0.0

    @property
    def is_final(self) -> bool:
        return self.status in FINAL

    def result(self) -> Any:
        """The output of a completed job. Raises Refused with the reason of any other."""
        if self.status != "COMPLETED":
            raise Refused(f"job {self.id} {self.status}: {reason(self)}")
        return self.output


@dataclass(frozen=True, slots=True)
class Piece:
    """One piece of a streamed job's output."""

    output: Any


class Jobs:
    """`async with Jobs(where) as jobs`. Every call raises Unreachable, PlatformRefused."""

    def __init__(self, where: Where, look_up: LookUp = system_look_up) -> None:
        self._url = where.url
        self._http = open_client(where.headers, look_up)

    async def __aenter__(self) -> Jobs:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def run(self, job: dict[str, Any]) -> str:
        """Queues {"input": ..., "policy": ...}; the job's id.

        Cancelled while the platform is answering, it waits for the id and cancels the job: nobody else could.
        """
        asking = asyncio.ensure_future(ask(self._http, "POST", f"{self._url}/run", job))
        try:
            return str((await asyncio.shield(asking))["id"])
        except asyncio.CancelledError:
            await self.cancel(str((await asking)["id"]))
            raise

    @asynccontextmanager
    async def kept(self, job: dict[str, Any]) -> AsyncIterator[str]:
        """The id of a job that whoever sent it waits for: when they stop waiting before its end, it is cancelled."""
        job_id = await self.run(job)
        try:
            yield job_id
        except Refused:  # it has ended
            raise
        except BaseException:
            await self.cancel(job_id)
            raise

    async def status(self, job_id: str) -> State:
        seen = await ask(self._http, "GET", f"{self._url}/status/{job_id}")
        queued, ran = (seen.get(key, 0) / 1000 for key in ("delayTime", "executionTime"))
        return State(job_id, seen["status"], seen.get("output"), seen.get("error"), queued, ran)

    async def stream(self, job_id: str) -> list[Piece]:
        """The pieces that nobody has fetched yet."""
        return [
            Piece(seen["output"]) for seen in (await ask(self._http, "GET", f"{self._url}/stream/{job_id}"))["stream"]
        ]

    async def cancel(self, job_id: str) -> None:
        await ask(self._http, "POST", f"{self._url}/cancel/{job_id}")

    async def follow(self, job_id: str, *, streams: bool = False) -> AsyncIterator[State | Piece]:
        """Each state of the job and, with `streams`, each piece of its output, until it has ended and nothing is left.

        The platform has to be asked again and again. A limit in time is the caller's.
        """
        pause = FIRST_PAUSE
        while True:
            pieces = await self.stream(job_id) if streams else []
            for piece in pieces:
                yield piece
            state = await self.status(job_id)
            if not (state.is_final and pieces):  # a last look at the stream comes before the end
                yield state
                if state.is_final:
                    return
            pause = FIRST_PAUSE if pieces else min(pause * 1.5, LONGEST_PAUSE)
            await asyncio.sleep(pause)


def reason(state: State) -> str:
    """Why a job failed; the worker's errors are one JSON object as a string."""
    try:
        parsed = json.loads(state.error) if isinstance(state.error, str) else state.error
    except ValueError:
        return str(state.error)
    if isinstance(parsed, dict) and "message" in parsed:
        return f"{parsed.get('status', '')} {parsed.get('code') or parsed.get('type', '')}: {parsed['message']}".strip()
    return str(state.error or state.output or "no reason given")
