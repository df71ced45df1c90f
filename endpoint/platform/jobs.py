"""The jobs of one queue endpoint: run, watch, cancel. The only client of Runpod's jobs API in the project."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from endpoint.errors import PlatformRefused, Refused, Unreachable
from endpoint.platform.answers import Given
from endpoint.platform.http import REQUEST_SECONDS, Client, Content, ask, open_client
from endpoint.where import Where

FINAL = frozenset({"COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"})
TOO_MANY = 429  # HTTP: nothing was done
BUSY_PAUSE = 1.0  # seconds
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 2.0  # seconds between two questions about a job
QUICK = 0.05, 0.1  # for somebody who is used to an answer as soon as it is there
AT_ONCE = 1.0  # seconds; the least that /runsync can be told to wait
UPLOAD_SECONDS = 300.0
SESSION_SECONDS = 3600  # asked of the platform, which otherwise ends every job after 10 minutes
PATIENCE = 60.0  # seconds for which a platform that does not answer is asked again about a job


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
            raise Refused(f"job {self.id} {self.status}: {reason(self)}", status_of(self))
        return self.output


@dataclass(frozen=True, slots=True)
class Piece:
    """One piece of a streamed job's output."""

    output: Any


@dataclass(frozen=True, slots=True)
class Session:
    """The WebSocket's URL that a held job has opened, and the token that it wants."""

    job_id: str
    url: str
    token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


class Jobs:
    """Every call raises Unreachable, PlatformRefused; a question about a job only after PATIENCE."""

    def __init__(self, where: Where, http: Client) -> None:
        self._url = where.url
        self._headers = where.headers
        self._http = http

    async def _ask(self, method: str, path: str, body: Any = None, seconds: float = REQUEST_SECONDS) -> dict[str, Any]:
        return await ask(self._http, method, f"{self._url}/{path}", body, headers=self._headers, seconds=seconds)

    async def _ask_again(self, method: str, path: str) -> dict[str, Any]:
        """For what may be asked twice: no job is lost because the network or the platform was away for a while."""
        limit, pause = time.monotonic() + PATIENCE, FIRST_PAUSE
        while True:
            try:
                return await self._ask(method, path)
            except (Unreachable, PlatformRefused) as error:
                if not _passes(error) or time.monotonic() + pause > limit:
                    raise
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def run(self, job: dict[str, Any] | Content) -> str:
        """Queues {"input": ..., "policy": ...}; the job's id."""
        return (await self._begin("run", job)).id

    async def run_at_once(self, job: dict[str, Any] | Content) -> State:
        """The same, and its end where it comes within a second: no question has to be asked for that."""
        return await self._begin(f"runsync?wait={round(AT_ONCE * 1000)}", job)

    async def _begin(self, how: str, job: dict[str, Any] | Content) -> State:
        """Cancelled while the platform is answering, it waits for the id and cancels the job: nobody else could."""
        asking = asyncio.ensure_future(self._ask("POST", how, job, UPLOAD_SECONDS))
        try:
            return _state(await asyncio.shield(asking))
        except asyncio.CancelledError:
            state = _state(await asking)
            if not state.is_final:
                await self.cancel(state.id)
            raise

    @asynccontextmanager
    async def kept(self, job: dict[str, Any] | Content | str) -> AsyncIterator[str]:
        """The id of a job (one to send, or the id of one that was sent) that is waited for: when that stops before its
        end, it is cancelled."""
        job_id = job if isinstance(job, str) else await self.run(job)
        try:
            yield job_id
        except Refused:  # it has ended
            raise
        except BaseException:
            await self.cancel(job_id)
            raise

    async def status(self, job_id: str) -> State:
        return _state({"id": job_id, **await self._ask_again("GET", f"status/{job_id}")})

    async def stream(self, job_id: str) -> tuple[list[Piece], State]:
        """The pieces that nobody has fetched yet, which are gone with this answer; the state is without output."""
        seen = await self._ask("GET", f"stream/{job_id}")
        return [Piece(piece["output"]) for piece in seen["stream"]], State(job_id, str(seen["status"]))

    @asynccontextmanager
    async def session(self, path: str, query: dict[str, str], patience: float) -> AsyncIterator[Session]:
        """A job that holds a realtime session open; one that is interrupted, or never had a client, is cancelled.

        Raises Refused; TimeoutError where there was no session after `patience` seconds.
        """
        job = {"input": {"path": path, "query": query}, "policy": {"executionTimeout": SESSION_SECONDS * 1000}}
        async with self.kept(job) as job_id:
            async with asyncio.timeout(patience):
                session = await self._session_of(job_id)
            yield session

    async def _session_of(self, job_id: str) -> Session:
        async for seen in self.follow(job_id):
            if isinstance(seen, State):
                output = seen.result() if seen.is_final else seen.output
                if isinstance(output, dict) and "realtime" in output:
                    return Session(job_id, output["realtime"]["url"], output["realtime"]["token"])
        raise Refused(f"job {job_id} ended before there was a session")

    async def cancel(self, job_id: str) -> None:
        await self._ask_again("POST", f"cancel/{job_id}")

    async def health(self) -> dict[str, Any]:
        """Jobs and workers by their state; the question wakes no worker."""
        return await self._ask("GET", "health")

    @asynccontextmanager
    async def sent(
        self, job: dict[str, Any] | Content, *, streams: bool
    ) -> AsyncIterator[AsyncIterator[State | Piece]]:
        """What becomes of a job, followed closely; it is cancelled when the block is left before its end."""
        state = State(await self.run(job), "IN_QUEUE") if streams else await self.run_at_once(job)
        ended = state.is_final

        async def following() -> AsyncIterator[State | Piece]:
            nonlocal ended
            if ended:
                yield state
                return
            async for seen in self.follow(state.id, streams=streams, pauses=QUICK):
                ended = isinstance(seen, State) and seen.is_final
                yield seen

        try:
            yield following()
        finally:
            if not ended:
                await asyncio.shield(self.cancel(state.id))

    async def follow(
        self, job_id: str, *, streams: bool = False, pauses: tuple[float, float] = (FIRST_PAUSE, LONGEST_PAUSE)
    ) -> AsyncIterator[State | Piece]:
        """Each state of the job and, with `streams`, each piece of its output, until it has ended and nothing is left.

        The platform has to be asked again and again. A limit in time is the caller's. Pieces whose answer was lost on
        its way come with the end, from the whole output.
        """
        first, longest = pauses
        pause, given, is_whole = first, Given(), True
        while True:
            pieces: list[Piece] = []
            state = None
            if streams and is_whole:
                try:
                    pieces, state = await self.stream(job_id)
                except (Unreachable, PlatformRefused) as error:
                    if not _passes(error):
                        raise
                    if isinstance(error, PlatformRefused) and error.status == TOO_MANY:
                        await asyncio.sleep(BUSY_PAUSE)
                        continue
                    is_whole = False
            for piece in pieces:
                given.add(piece.output)
                yield piece
            if not pieces:
                if state is None or state.is_final:
                    state = await self.status(job_id)
                if streams and state.status == "COMPLETED":
                    for output in given.rest(state.output, is_whole=is_whole):
                        yield Piece(output)
                yield state
                if state.is_final:
                    return
            pause = first if pieces else min(pause * 1.5, longest)
            await asyncio.sleep(pause)


def _passes(error: Unreachable | PlatformRefused) -> bool:
    """Whether the same question may be answered a moment later."""
    return isinstance(error, Unreachable) or error.status == TOO_MANY or error.status >= 500


@asynccontextmanager
async def open_jobs(where: Where) -> AsyncIterator[Jobs]:
    async with open_client() as http:
        yield Jobs(where, http)


def _state(seen: dict[str, Any]) -> State:
    queued, ran = (seen.get(key, 0) / 1000 for key in ("delayTime", "executionTime"))
    return State(str(seen["id"]), seen["status"], seen.get("output"), seen.get("error"), queued, ran)


def reason(state: State) -> str:
    """Why a job failed."""
    parsed = error_of(state)
    if "message" in parsed:
        return f"{parsed.get('status', '')} {parsed.get('code') or parsed.get('type', '')}: {parsed['message']}".strip()
    return str(state.error or state.output or "no reason given")


def status_of(state: State) -> int:
    status = error_of(state).get("status")
    return status if isinstance(status, int) else 0


def error_of(state: State) -> dict[str, Any]:
    """The worker's errors are one JSON object as a string."""
    try:
        parsed = json.loads(state.error) if isinstance(state.error, str) else state.error
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}
