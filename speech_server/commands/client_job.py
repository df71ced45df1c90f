"""A realtime session on a Runpod queue endpoint: start the job, wait for its address, hear how it ended."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx

POLL_SECONDS = 0.5
FINAL = ("COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT")
SESSION_HOURS = 1  # asked of the platform, which otherwise ends every job after 10 minutes


class JobFailed(OSError):
    """The job ended before there was an address, or badly; the message is the platform's or the worker's."""


class RealtimeJob:
    """`endpoint` is like https://api.runpod.ai/v2/ENDPOINT_ID, or that of a local_runpod."""

    def __init__(self, http: httpx.AsyncClient, endpoint: str) -> None:
        self._http = http
        self._endpoint = endpoint
        self._id = ""

    async def start(self, query: dict[str, str]) -> tuple[str, str]:
        """The WebSocket's URL and the token it wants. Raises JobFailed."""
        limit = SESSION_HOURS * 3_600_000
        job = {"input": {"path": "/v1/realtime", "query": query}, "policy": {"executionTimeout": limit}}
        self._id = (await self._ask("POST", "run", job))["id"]
        while True:
            state = await self._ask("GET", f"status/{self._id}")
            output = state.get("output")
            if isinstance(output, dict) and "realtime" in output:
                return output["realtime"]["url"], output["realtime"]["token"]
            if state["status"] in FINAL:
                raise JobFailed(f"job {self._id} ended {state['status']}: {state.get('error') or output}")
            await asyncio.sleep(POLL_SECONDS)

    async def summary(self) -> Any:
        """The job's output, once it has ended."""
        while True:
            state = await self._ask("GET", f"status/{self._id}")
            if state["status"] in FINAL:
                return state.get("output") or state.get("error") or state["status"]
            await asyncio.sleep(POLL_SECONDS)

    async def cancel(self) -> None:
        if self._id:
            await self._ask("POST", f"cancel/{self._id}")

    async def _ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        response = await self._http.request(method, f"{self._endpoint}/{path}", json=body)
        if response.is_error:
            raise JobFailed(f"{response.request.url} answered {response.status_code}: {response.text[:300]}")
        answer: dict[str, Any] = response.json()
        return answer
