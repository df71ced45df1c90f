"""The line between a caller and the platform, as bad as it gets: a reverse proxy that cuts, refuses and dawdles."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web

MARK = re.compile(rb'"mark": ?"(\w+)"')
LARGEST = 40_000_000  # bytes of a request


class BadLine:
    """Each kind of trouble strikes with the probability `each`. What it saw of jobs is in `jobs` and `lost`."""

    def __init__(self, platform_url: str, each: float, dice: random.Random) -> None:
        self.url = ""
        self.each = each
        self.counts: Counter[str] = Counter()
        self.jobs: defaultdict[str, list[str]] = defaultdict(list)  # ids by the mark in the job's input
        self.lost: Counter[str] = Counter()  # receipts that did not arrive, by mark: nobody can know of those jobs
        self._platform = platform_url
        self._dice = dice

    @asynccontextmanager
    async def open(self) -> AsyncIterator[BadLine]:
        app = web.Application(client_max_size=LARGEST)
        app.router.add_route("*", "/{path:.*}", self._pass)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            async with aiohttp.ClientSession(auto_decompress=False) as self._http:
                yield self
        finally:
            await runner.cleanup()

    def _strikes(self, kind: str) -> bool:
        struck = self._dice.random() < self.each
        self.counts[kind] += struck
        return struck

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        sent = await request.read()
        if self._strikes("cut before"):
            return _cut(request)
        if self._strikes("502"):
            return web.json_response({"error": "bad gateway"}, status=502)
        if self._strikes("slow"):
            await asyncio.sleep(self._dice.uniform(0.1, 1.0))
        headers = {name: request.headers[name] for name in ("authorization", "content-type") if name in request.headers}
        async with self._http.request(
            request.method, self._platform + request.path_qs, data=sent, headers=headers
        ) as reply:
            answer = await reply.read()
        mark = MARK.search(sent)
        is_new = mark and reply.status == 200 and request.path.rpartition("/")[2] in ("run", "runsync")
        if is_new:
            self.jobs[mark[1].decode()].append(json.loads(answer)["id"])
        if self._strikes("cut after"):
            if is_new:
                self.lost[mark[1].decode()] += 1
            return _cut(request)
        return web.Response(body=answer, status=reply.status, content_type="application/json")


def _cut(request: web.Request) -> web.StreamResponse:
    if request.transport:
        request.transport.abort()
    return web.Response()


def ended(state: dict[str, Any]) -> dict[str, str]:
    """Status by job, of all that the platform knows."""
    return {job["id"]: job["status"] for job in state["jobs"]}
