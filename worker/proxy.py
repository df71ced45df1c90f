"""Answers jobs: the path of one from its input to its output, and the edge where every failure becomes a reply."""

from __future__ import annotations

import asyncio
import base64
import json
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import Any

import httpx

from outgoing import tracing
from worker import log
from worker.answer.bucket import store_for
from worker.answer.progress import reported_progress
from worker.answer.reply import encode_error, encode_reply, result_limit
from worker.answer.stream import cutter_for, pieces
from worker.errors import JobTimeout, ServerUnavailable, WorkerError, WorkerStopping
from worker.job.lending import Lender
from worker.job.media import MediaFile, open_media
from worker.job.parse import JobInput, parse_job
from worker.platform import sdk
from worker.realtime.hold import hold_session
from worker.scratch import spool
from worker.server.forward import forward, open_client, request_id
from worker.server.supervisor import Supervisor
from worker.settings import Settings

Job = dict[str, Any]
Send = Callable[[Any], Awaitable[None]]


class Proxy:
    """Answers jobs with the server's help. One for the worker's life, used from one event loop."""

    def __init__(self, settings: Settings, supervisor: Supervisor, save_to: Path | None = None) -> None:
        self._settings = settings
        self._supervisor = supervisor
        self._save_to = save_to
        self._client: httpx.AsyncClient | None = None
        self._lender = Lender(supervisor.lender_key) if supervisor.lender_key else None
        self._running: set[asyncio.Task[Any]] = set()
        self._is_stopping = False

    async def answer(
        self, request: JobInput, job_id: str, send_piece: Send, send_progress: Send | None, *, raw_events: bool = False
    ) -> Any:
        """The path of one job. Raises WorkerError; whatever was opened is closed in every outcome."""
        settings = self._settings
        if request.is_realtime:
            # A generator handler has no progress: the address is its first piece.
            return await self._hold_session(request, send_progress or send_piece)
        headers = self._headers(request_id(request, job_id))
        async with AsyncExitStack() as stack:
            with tracing.span("fetch_media", {"worker.files": len(request.files)}):
                lender = self._lender if request.is_of_a_part else None
                files = await stack.enter_async_context(open_media(request.files, settings, lender))
            with tracing.span("ensure_ready"):
                server = await self._supervisor.ensure_ready()
            body = stack.enter_context(spool())
            async with (
                reported_progress(self._http, server, headers, settings.progress_interval, send_progress),
                forward(self._http, self._supervisor, request, files, headers) as reply,
            ):
                refuse_broken_loans(reply.status, files)
                streams = reply.status < 300 and (request.stream or raw_events)
                cutter = cutter_for(reply.content_type, raw_events=raw_events) if streams else None
                blocks = reply.blocks(settings.max_answer_mb * 1_000_000)
                async with aclosing(pieces(blocks, body, cutter)) as ready:
                    async for piece in ready:
                        await send_piece(piece)
            log.info(f"{request.method} {request.path} {reply.status}, {body.tell()} bytes", job_id)
            limit, store = result_limit(job_id, settings), store_for(request, job_id, settings)
            with tracing.span("encode_reply", {"worker.answer.bytes": body.tell()}):
                return await encode_reply(reply.status, reply.content_type, body, limit, store)

    async def handle(self, job: Job) -> Any:
        """WORKER_HANDLER=plain: returns the whole result; jobs with "stream": true send pieces before."""
        send_progress = (lambda output: sdk.send_progress(job, output)) if sdk.on_platform() else None
        return await self._finish(job, lambda piece: sdk.send_piece(job, piece), send_progress)

    async def handle_one(self, job: Job) -> Any:
        """The only job of this process: nothing is left open behind it."""
        try:
            return await self.handle(job)
        finally:
            await self.close()

    async def handle_stream(self, job: Job) -> AsyncIterator[Any]:
        """WORKER_HANDLER=generator: yields what the server streams, or else the whole result at once."""
        queue: asyncio.Queue[Any] = asyncio.Queue(maxsize=1)
        count = 0
        # A task of its own: the job's limits must not strike while the SDK is sending what was yielded.
        work = asyncio.create_task(self._finish(job, queue.put, None, raw_events=True))
        piece = asyncio.create_task(queue.get())
        try:
            while True:
                await asyncio.wait((work, piece), return_when=asyncio.FIRST_COMPLETED)
                if not piece.done() and queue.empty():
                    break  # the work has ended, and nothing of it is on its way
                count += 1
                yield await piece
                piece = asyncio.create_task(queue.get())
            output = work.result()
            if count == 0 or (isinstance(output, dict) and output.get("error")):
                yield output
        finally:
            work.cancel()
            piece.cancel()
            await asyncio.wait((work, piece))

    async def _finish(self, job: Job, send_piece: Send, send_progress: Send | None, *, raw_events: bool = False) -> Any:
        """The job's output or {"error": ...}: nothing but a cancellation gets past this."""
        about = {"faas.invocation_id": str(job["id"]), "faas.trigger": "pubsub"}
        with tracing.span("job", about, kind="consumer", carrier=trace_headers(job)) as span:
            return await self._run(job, send_piece, send_progress, span, raw_events=raw_events)

    async def _run(
        self, job: Job, send_piece: Send, send_progress: Send | None, span: tracing.Span, *, raw_events: bool
    ) -> Any:
        began, job_id = time.monotonic(), str(job["id"])
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        error: WorkerError
        try:
            request = parse_job(job)
            async with asyncio.timeout(limit := request.time_limit(self._settings.job_timeout)):
                output = await self.answer(request, job_id, send_piece, send_progress, raw_events=raw_events)
            log.info(f"COMPLETED in {time.monotonic() - began:.2f} s", job_id)
            if self._save_to:
                save(output, self._save_to)
            return output
        except TimeoutError:
            error = JobTimeout(f"the job took longer than {limit:g} s")
        except asyncio.CancelledError:
            if not self._is_stopping:
                raise
            task.uncancel()
            error = WorkerStopping("the worker was stopped and this job did not finish in time; send it again")
        except WorkerError as known:
            error = known
        except Exception as unknown:  # noqa: BLE001 (the edge: whatever happens, the job must end)
            for line in traceback.format_exc().splitlines():
                log.error(line, job_id)
            error = WorkerError(f"the worker failed ({type(unknown).__name__}); its log says where")
        finally:
            self._running.discard(task)
        span.fail(error.code)
        # The server's words may quote what it was sent; ours never do.
        reason = error.message if error.source == "worker" else f"the server's {error.status}"
        log.warn(f"FAILED in {time.monotonic() - began:.2f} s: {error.code}: {reason}", job_id)
        return {"error": encode_error(error, job_id)}

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None
        if self._lender is not None:
            await self._lender.close()

    def end_jobs(self) -> None:
        """Makes every job that still runs fail at once."""
        self._is_stopping = True
        for task in self._running:
            task.cancel()

    async def _hold_session(self, request: JobInput, tell: Send) -> Any:

        with tracing.span("ensure_ready"):
            server = await self._supervisor.ensure_ready()
        try:
            with tracing.span("hold_session"):
                output = await hold_session(request, self._settings, server.url, tell)
        except ServerUnavailable as broken:
            raise await self._supervisor.explain(server, broken) from None
        server.answered.set()
        return output

    @property
    def _http(self) -> httpx.AsyncClient:

        if self._client is None:
            self._client = open_client()
        return self._client

    def _headers(self, request_id: str) -> dict[str, str]:
        headers = {"x-request-id": request_id}
        if self._settings.server_api_key:
            headers["authorization"] = f"Bearer {self._settings.server_api_key}"
        return headers


def refuse_broken_loans(status: int, files: Sequence[MediaFile]) -> None:
    """Why a file could not be read is known here; that it could not is all that the server knows."""
    for file in files:
        if status >= 300 and file.loan and file.loan.trouble:
            raise file.loan.trouble


def trace_headers(job: Job) -> dict[str, str]:
    """The headers of a job that nobody has read yet: an invalid one belongs to its caller's trace, too."""
    given = job.get("input")
    found = given.get("headers") if isinstance(given, dict) else None
    pairs = found.items() if isinstance(found, dict) else ()
    return {str(name).lower(): value for name, value in pairs if isinstance(value, str)}


def save(output: Any, to: Path) -> None:
    """The audio or other bytes of an output, or else its JSON."""
    content = output.get("audio_content", output.get("data")) if isinstance(output, dict) else None
    is_bytes = isinstance(content, str) and isinstance(output, dict) and output.get("status") == "success"
    saved = base64.b64decode(content) if is_bytes and content else json.dumps(output, indent=2).encode()
    to.write_bytes(saved)
    log.info(f"saved {len(saved)} bytes to {to}")
