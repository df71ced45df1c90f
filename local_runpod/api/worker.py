"""What the SDK in a worker calls: job-take, job-take-batch, job-done, job-stream, job-stop, ping (runpod 1.12).

A result for a job that has ended, or that was given to another worker since, is refused with 400.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from local_runpod.api.request import parse_json
from local_runpod.api.wire import answer, read_body, while_connected
from local_runpod.control import QUEUE, STOPS, Control
from local_runpod.errors import BadRequest

NO_JOB = 204
# A result over the limit is refused by the table, which knows the job's kind: this only bounds what is held meanwhile.
LARGEST_POST = 200_000_000


class WorkerApi:
    def __init__(self, control: Control) -> None:
        self.control = control
        self.table = control.table
        self.settings = control.settings

    def routes(self) -> list[Route]:
        return [
            Route("/job-take/{worker_id}", self.take, methods=["GET"]),
            Route("/job-take-batch/{worker_id}", self.take_batch, methods=["GET"]),
            Route("/job-done/{worker_id}/{job_id}", self.done, methods=["POST"]),
            Route("/job-stream/{worker_id}/{job_id}", self.stream, methods=["POST"]),
            Route("/job-stop/{worker_id}", self.stop, methods=["GET"]),
            Route("/ping/{worker_id}", self.ping, methods=["GET"]),
        ]

    async def take(self, request: Request) -> Response:
        jobs = await self._wait_for_jobs(request, 1)
        return answer(jobs[0]) if jobs else Response(status_code=NO_JOB)

    async def take_batch(self, request: Request) -> Response:
        size = request.query_params.get("batch_size", "1")
        if not size.isascii() or not size.isdigit():
            raise BadRequest(f"batch_size must be a number, not {size}")
        jobs = await self._wait_for_jobs(request, int(size))
        return answer(jobs) if jobs else Response(status_code=NO_JOB)

    async def _wait_for_jobs(self, request: Request, count: int) -> list[dict[str, object]]:
        worker_id = request.path_params["worker_id"]
        worker = self.table.hear(worker_id)
        worker.ready = True

        def leaves() -> bool:
            return self.control.stopping or worker.leaving

        queued = self.control.signals.wait(
            QUEUE, lambda: leaves() or self.table.has_queued(), self.settings.poll_seconds
        )
        await while_connected(request, queued)
        # Only now, and without another await: a job is never given to a caller that has gone meanwhile.
        return [] if leaves() else self.table.take(worker_id, count)

    async def done(self, request: Request) -> Response:
        worker_id, job_id = request.path_params["worker_id"], request.path_params["job_id"]
        body = await read_body(request, LARGEST_POST)
        result = parse_json(body)
        streamed = request.query_params.get("isStream") == "true"
        self.table.finish(worker_id, job_id, result, size=len(body), streamed=streamed)
        if result.get("stopPod"):
            self.control.dismiss(worker_id)
        return answer({})

    async def stream(self, request: Request) -> Response:
        worker_id, job_id = request.path_params["worker_id"], request.path_params["job_id"]
        body = await read_body(request, LARGEST_POST)
        self.table.add_chunk(worker_id, job_id, parse_json(body), size=len(body))
        return answer({})

    async def stop(self, request: Request) -> Response:
        worker = self.table.hear(request.path_params["worker_id"])
        told = self.control.signals.wait(
            STOPS, lambda: bool(worker.stops) or worker.leaving or self.control.stopping, self.settings.poll_seconds
        )
        await while_connected(request, told)
        stops = self.table.drain_stops(worker.id)
        return answer({"jobsToStop": stops}) if stops else Response(status_code=NO_JOB)

    async def ping(self, request: Request) -> Response:
        listed = request.query_params.get("job_id", "")
        self.table.ping(request.path_params["worker_id"], [job_id for job_id in listed.split(",") if job_id])
        self.control.signals.wake(STOPS)
        return answer({})
