"""Not part of Runpod: what the platform knows, and trouble on demand. GET /admin/state, POST /admin/trouble, kill."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from local_runpod.api.request import parse_json
from local_runpod.api.trouble import KNOBS
from local_runpod.api.wire import answer, read_body, require_key
from local_runpod.control import Control
from local_runpod.errors import BadRequest, NotFound
from local_runpod.processes import Pool

LARGEST_BODY = 100_000


class AdminApi:
    def __init__(self, control: Control, pool: Pool | None) -> None:
        self.control = control
        self.pool = pool

    def routes(self) -> list[Route]:
        return [
            Route("/admin/state", self.state, methods=["GET"]),
            Route("/admin/trouble", self.trouble, methods=["POST"]),
            Route("/admin/workers/{worker_id}/kill", self.kill, methods=["POST"]),
        ]

    async def state(self, request: Request) -> Response:
        """Workers with their pids, jobs with the number of results accepted and refused, trouble so far."""
        require_key(request, self.control.settings.api_key)
        pids = {worker.id: worker.process.pid for worker in self.pool.running.values()} if self.pool else {}
        table = self.control.table
        return answer(
            {
                "workers": [
                    {"id": worker.id, "pid": pids.get(worker.id), "ready": worker.ready, "jobs": sorted(worker.holds)}
                    for worker in table.workers.values()
                ],
                "jobs": [
                    {"id": job.id, "status": job.status, "accepted": job.accepted, "refused": job.refused}
                    for job in table.jobs.values()
                ],
                "trouble": dict(self.control.trouble.counts),
            }
        )

    async def trouble(self, request: Request) -> Response:
        """Sets any of refuse_results, refuse_status, drop_connections, busy, delay."""
        wanted = await self._parse(request)
        for name, value in wanted.items():
            if name not in KNOBS or isinstance(value, bool) or not isinstance(value, int | float):
                raise BadRequest(f"{name} is not a number among {', '.join(KNOBS)}")
        for name, value in wanted.items():
            setattr(self.control.trouble, name, value)
        return answer({name: value for name, value in asdict(self.control.trouble).items() if name in KNOBS})

    async def kill(self, request: Request) -> Response:
        """{"signal": 9, "child": "text"}: the worker, or with `child` its processes with this text in their command."""
        wanted = await self._parse(request)
        signum, child = wanted.get("signal", 9), wanted.get("child", "")
        if not isinstance(signum, int) or not isinstance(child, str):
            raise BadRequest("signal is a number, child is text")
        killed = self.pool.kill(request.path_params["worker_id"], signum, child) if self.pool else 0
        if not killed:
            raise NotFound("no such process")
        return answer({"killed": killed})

    async def _parse(self, request: Request) -> dict[str, Any]:
        require_key(request, self.control.settings.api_key)
        body = parse_json(await read_body(request, LARGEST_BODY) or b"{}")
        if not isinstance(body, dict):
            raise BadRequest("the body must be a JSON object")
        return body
