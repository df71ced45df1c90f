"""A Runpod job names an HTTP request; the speech server beside this worker answers it.

On Runpod this file is the worker. At home it runs one job and ends:

    python handler.py                                    the job in test_input.json
    python handler.py --test_input '{"input": {"path": "/v1/models"}}'
    python handler.py --test_input "$(cat examples/jobs/speech.json)" --output hello.mp3
    python handler.py --rp_serve_api                     Runpod's API, simulated by the SDK, on port 8000

The exit status is 0 when the job was COMPLETED, 1 when it FAILED, 2 when the settings or the arguments are wrong.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worker import log
from worker.errors import BadSetting, JobTimeout, ServerUnavailable, WorkerError, WorkerStopping
from worker.prctl import hide_from_siblings
from worker.settings import Settings, read_settings
from worker.supervisor import Supervisor

if TYPE_CHECKING:
    import asyncio

    import httpx

    from worker.job import JobInput

# Nothing here imports asyncio, httpx or runpod at the top: the server is spawned first, and starts meanwhile.

Job = dict[str, Any]
Send = Callable[[Any], Awaitable[None]]


class Proxy:
    """Answers jobs with the server's help. One for the worker's life, used from one event loop."""

    def __init__(self, settings: Settings, supervisor: Supervisor, save_to: Path | None = None) -> None:
        self._settings = settings
        self._supervisor = supervisor
        self._save_to = save_to
        self._client: httpx.AsyncClient | None = None
        self._running: set[asyncio.Task[Any]] = set()
        self._is_stopping = False

    async def answer(
        self, request: JobInput, job_id: str, send_piece: Send, send_progress: Send | None, *, raw_events: bool = False
    ) -> Any:
        """The path of one job. Raises WorkerError; whatever was opened is closed in every outcome."""
        from worker.bucket import store_for
        from worker.forward import forward, request_id
        from worker.media import open_media
        from worker.progress import reported_progress
        from worker.reply import encode_reply, result_limit
        from worker.scratch import spool
        from worker.stream import cutter_for, pieces

        settings = self._settings
        if request.is_realtime:
            # A generator handler has no progress: the address is its first piece.
            return await self._hold_session(request, job_id, send_progress or send_piece)
        headers = self._headers(request_id(request, job_id))
        async with open_media(request.files, settings) as files:
            server = await self._supervisor.ensure_ready()
            async with (
                reported_progress(self._http, server, headers, settings.progress_interval, send_progress),
                forward(self._http, self._supervisor, request, files, headers) as reply,
            ):
                streams = reply.status < 300 and (request.stream or raw_events)
                cutter = cutter_for(reply.content_type, raw_events=raw_events) if streams else None
                with spool() as body:
                    blocks = reply.blocks(settings.max_answer_mb * 1_000_000)
                    async with aclosing(pieces(blocks, body, cutter)) as ready:
                        async for piece in ready:
                            await send_piece(piece)
                    log.info(f"{request.method} {request.path} {reply.status}, {body.tell()} bytes", job_id)
                    limit, store = result_limit(job_id, settings), store_for(request, job_id, settings)
                    return await encode_reply(reply.status, reply.content_type, body, limit, store)

    async def handle(self, job: Job) -> Any:
        """WORKER_HANDLER=plain: returns the whole result; jobs with "stream": true send pieces before."""
        from worker import sdk

        send_progress = (lambda output: sdk.send_progress(job, output)) if sdk.on_platform() else None
        return await self._finish(job, lambda piece: sdk.send_piece(job, piece), send_progress)

    async def handle_stream(self, job: Job) -> AsyncIterator[Any]:
        """WORKER_HANDLER=generator: yields what the server streams, or else the whole result at once."""
        import asyncio

        pieces: asyncio.Queue[Any] = asyncio.Queue(maxsize=1)
        count = 0
        # A task of its own: the job's limits must not strike while the SDK is sending what was yielded.
        work = asyncio.create_task(self._finish(job, pieces.put, None, raw_events=True))
        piece = asyncio.create_task(pieces.get())
        try:
            while True:
                await asyncio.wait((work, piece), return_when=asyncio.FIRST_COMPLETED)
                if not piece.done() and pieces.empty():
                    break  # the work has ended, and nothing of it is on its way
                count += 1
                yield await piece
                piece = asyncio.create_task(pieces.get())
            output = work.result()
            if count == 0 or (isinstance(output, dict) and output.get("error")):
                yield output
        finally:
            work.cancel()
            piece.cancel()
            await asyncio.wait((work, piece))

    async def _finish(self, job: Job, send_piece: Send, send_progress: Send | None, *, raw_events: bool = False) -> Any:
        """The job's output or {"error": ...}: nothing but a cancellation gets past this."""
        import asyncio

        from worker.job import parse_job
        from worker.reply import encode_error

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
            self._save(output)
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
            import traceback

            for line in traceback.format_exc().splitlines():
                log.error(line, job_id)
            error = WorkerError(f"the worker failed ({type(unknown).__name__}); its log says where")
        finally:
            self._running.discard(task)
        # The server's words may quote what it was sent; ours never do.
        reason = error.message if error.source == "worker" else f"the server's {error.status}"
        log.warn(f"FAILED in {time.monotonic() - began:.2f} s: {error.code}: {reason}", job_id)
        return {"error": encode_error(error, job_id)}

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    def end_jobs(self) -> None:
        """Makes every job that still runs fail at once."""
        self._is_stopping = True
        for task in self._running:
            task.cancel()

    async def _hold_session(self, request: JobInput, job_id: str, tell: Send) -> Any:
        from worker.realtime import hold_session

        server = await self._supervisor.ensure_ready()
        try:
            output = await hold_session(request, {"id": job_id}, self._settings, server.url, tell)
        except ServerUnavailable as broken:
            raise await self._supervisor.explain(server, broken) from None
        server.answered.set()
        return output

    @property
    def _http(self) -> httpx.AsyncClient:
        from worker.forward import open_client

        if self._client is None:
            self._client = open_client()
        return self._client

    def _headers(self, request_id: str) -> dict[str, str]:
        headers = {"x-request-id": request_id}
        if self._settings.server_api_key:
            headers["authorization"] = f"Bearer {self._settings.server_api_key}"
        return headers

    def _save(self, output: Any) -> None:
        if self._save_to is None:
            return
        import base64

        content = output.get("audio_content", output.get("data")) if isinstance(output, dict) else None
        is_bytes = isinstance(content, str) and isinstance(output, dict) and output.get("status") == "success"
        saved = base64.b64decode(content) if is_bytes and content else json.dumps(output, indent=2).encode()
        self._save_to.write_bytes(saved)
        log.info(f"saved {len(saved)} bytes to {self._save_to}")


def main(argv: list[str]) -> int:
    on_platform = "RUNPOD_WEBHOOK_GET_JOB" in os.environ
    try:
        arguments = _parse_arguments(argv, on_platform=on_platform)
        settings = read_settings(os.environ)
    except BadSetting as error:
        print(f"error: {error.message}", file=sys.stderr)
        return 2
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a terminal's own encoding may be small
    # runpod 1.12 logs at DEBUG by default, which prints every output: transcripts in logs.
    os.environ.setdefault("RUNPOD_LOG_LEVEL", "INFO")
    hide_from_siblings()  # before there is a sibling
    supervisor = Supervisor(settings)
    supervisor.start()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # until the SDK's loop has handlers of its own
    try:
        _serve(Proxy(settings, supervisor, arguments.output), settings, supervisor)
        return 1 if supervisor.gave_up.done() else 0
    finally:
        supervisor.stop()


def _serve(proxy: Proxy, settings: Settings, supervisor: Supervisor) -> None:
    # Everything a job needs, while the server starts: the first job does not wait for it.
    from worker.quick_import import import_runpod

    runpod = import_runpod()
    from worker import bucket, forward, sdk  # noqa: F401
    from worker.memory import return_large_blocks

    return_large_blocks()

    def speech_server() -> None:
        supervisor.wait_ready()

    runpod.serverless.register_fitness_check(speech_server)
    sdk.correct(
        shutdown_timeout=settings.shutdown_timeout,
        delivery_timeout=settings.delivery_timeout,
        take_timeout=settings.take_timeout,
        max_take_mb=settings.max_take_mb,
        end_jobs=proxy.end_jobs,
        close=proxy.close,
        gave_up=supervisor.gave_up,
    )
    runpod.serverless.start(
        {
            "handler": proxy.handle if settings.handler == "plain" else proxy.handle_stream,
            # A constant: runpod 1.12 applies a changed value only once the worker is idle.
            "concurrency_modifier": lambda _: settings.concurrency,
            "return_aggregate_stream": True,
        }
    )


def _parse_arguments(argv: list[str], *, on_platform: bool) -> argparse.Namespace:
    """Ours, and a look at the SDK's, which parses its own again but answers a mistake with a traceback."""
    rows = [(row.metadata["env"], row.default, row.metadata["help"]) for row in dataclasses.fields(Settings)]
    table = "\n".join(f"  {env} [{default}]\n      {text}" for env, default, text in rows)
    parser = argparse.ArgumentParser(
        prog="python handler.py",
        description=__doc__,
        epilog=f"environment variables of the worker [default]:\n{table}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--test_input", metavar="JSON", help='the job: {"input": {...}}')
    parser.add_argument("--output", metavar="FILE", type=Path, help="where the result goes: audio decoded, else JSON")
    parser.add_argument("--rp_serve_api", action="store_true", help="serve the SDK's simulation of Runpod's API")
    parser.add_argument("--rp_api_port", metavar="PORT", type=int, help="its port (8000)")
    parser.add_argument("--rp_api_host", metavar="HOST", help="its address (localhost)")
    parser.add_argument("--rp_log_level", metavar="LEVEL", help="ERROR, WARN, INFO or DEBUG; also RUNPOD_LOG_LEVEL")
    arguments, _ = parser.parse_known_args(argv)
    if arguments.test_input is not None:
        try:
            job = json.loads(arguments.test_input)
        except ValueError as error:
            raise BadSetting(f"--test_input is not JSON: {error}") from None
        if not isinstance(job, dict) or job.get("input") is None:
            raise BadSetting('--test_input must be an object like {"input": {"path": "/v1/models"}}')
    elif not on_platform and not arguments.rp_serve_api and not Path("test_input.json").exists():
        raise BadSetting("there is no test_input.json here: give a job with --test_input, or see --help")
    return arguments


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
