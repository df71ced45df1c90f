"""What clients call: /v2/ENDPOINT/ run, runsync, status, stream, cancel, retry, purge-queue, health, requests.

Where the documentation is silent, this was chosen:
- /stream waits up to 5 s for a piece before it answers an empty list; a piece is handed out once.
- A client that hangs up on /runsync does not cancel its job.
- /requests lists all jobs that are still kept, without inputs and outputs.
- The SDK's own client never ends a stream() of a CANCELLED job (it does not count CANCELLED as final): so it is there.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from local_runpod.api.request import parse_request
from local_runpod.api.wire import answer, read_body, require_key, while_connected
from local_runpod.control import Control
from local_runpod.errors import BadRequest
from local_runpod.rules.jobs import Job

WAIT_LIMITS = (1000, 300_000)  # milliseconds


class ClientApi:
    def __init__(self, control: Control) -> None:
        self.control = control
        self.table = control.table
        self.settings = control.settings

    def routes(self) -> list[Route]:
        one, two = ["POST"], ["GET", "POST"]
        return [
            Route("/run", self.run, methods=one),
            Route("/runsync", self.runsync, methods=one),
            Route("/status/{job_id}", self.status, methods=two),
            Route("/stream/{job_id}", self.stream, methods=two),
            Route("/cancel/{job_id}", self.cancel, methods=one),
            Route("/retry/{job_id}", self.retry, methods=one),
            Route("/purge-queue", self.purge_queue, methods=one),
            Route("/health", self.health, methods=["GET"]),
            Route("/requests", self.requests, methods=["GET"]),
        ]

    async def run(self, request: Request) -> Response:
        self._admit(request, "run")
        body = await read_body(request, self.settings.run_limit)
        return _receipt(self.table.submit(parse_request(body, self.settings), sync=False))

    async def runsync(self, request: Request) -> Response:
        self._admit(request, "runsync")
        seconds = self._parse_wait(request)
        body = await read_body(request, self.settings.runsync_limit)
        job = self.table.submit(parse_request(body, self.settings), sync=True)
        ended = self.control.signals.wait(job.id, lambda: job.ended or self.control.stopping, seconds)
        await while_connected(request, ended)
        return answer(job.view() if job.ended else {"id": job.id, "status": job.status})

    def _parse_wait(self, request: Request) -> float:
        given = request.query_params.get("wait")
        if given is None:
            return self.settings.runsync_wait
        low, high = WAIT_LIMITS
        if not given.isascii() or not given.isdigit() or not low <= int(given) <= high:
            raise BadRequest(f"wait must be {low} to {high} milliseconds, not {given}")
        return int(given) / 1000

    async def status(self, request: Request) -> Response:
        self._admit(request, "status")
        return answer(self._named(request).view())

    async def stream(self, request: Request) -> Response:
        self._admit(request, "stream")
        job = self._named(request)
        await read_body(request, self.settings.run_limit)
        news = self.control.signals.wait(
            job.id, lambda: bool(job.chunks) or job.ended or self.control.stopping, self.settings.stream_wait
        )
        await while_connected(request, news)
        return answer(job.drain_chunks())

    async def cancel(self, request: Request) -> Response:
        self._admit(request, "cancel")
        return _receipt(self.table.cancel(request.path_params["job_id"]))

    async def retry(self, request: Request) -> Response:
        self._admit(request, "retry")
        return _receipt(self.table.retry(request.path_params["job_id"]))

    async def purge_queue(self, request: Request) -> Response:
        self._admit(request, "purge-queue")
        return answer({"removed": self.table.purge(), "status": "completed"})

    async def health(self, request: Request) -> Response:
        self._admit(request, "health")
        return answer(self.table.health())

    async def requests(self, request: Request) -> Response:
        self._admit(request, "requests")
        views = [
            {key: value for key, value in job.view().items() if key != "output"} for job in self.table.jobs.values()
        ]
        return answer({"requests": views})

    def _admit(self, request: Request, operation: str) -> None:
        require_key(request, self.settings.api_key)
        self.control.rates.count(operation)

    def _named(self, request: Request) -> Job:
        return self.table.find(request.path_params["job_id"])


def _receipt(job: Job) -> Response:
    return answer({"id": job.id, "status": job.status})
