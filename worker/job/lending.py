"""Lends files to the server, which reads them in parts: an HTTP server on loopback, whose addresses nobody can guess.

One file has one address, /KEY/ID, as long as its job needs it; the server knows the key by its environment.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from worker.errors import WorkerError
from worker.job.parts import Parts

HOST = "127.0.0.1"
LARGEST = 4 << 20  # bytes of one answer
_RANGE = re.compile(r"bytes=(\d{1,18})-(\d{1,18})")


@dataclass(slots=True)
class Loan:
    """`trouble`: why a part could not be had; what the server says then is only a consequence."""

    parts: Parts
    content_type: str
    url: str
    trouble: WorkerError | None = None
    readers: set[asyncio.Task[Any]] = field(default_factory=set)

    @property
    def as_type(self) -> str:
        """How a form part names it in place of its bytes (RFC 2017)."""
        return f'message/external-body; access-type=URL; URL="{self.url}"'


class Lender:
    """One for the worker's life, used from one event loop."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._loans: dict[str, Loan] = {}
        self._runner: web.ServerRunner | None = None
        self._port = 0

    @asynccontextmanager
    async def lend(self, parts: Parts, content_type: str) -> AsyncIterator[Loan]:
        await self._listen()
        place = f"/{self._key}/{secrets.token_urlsafe(16)}"
        loan = self._loans[place] = Loan(parts, content_type, f"http://{HOST}:{self._port}{place}")
        try:
            yield loan
        finally:
            del self._loans[place]
            for reader in loan.readers:
                reader.cancel()
            if loan.readers:
                await asyncio.wait(loan.readers)

    async def close(self) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _listen(self) -> None:
        if self._runner is None:
            self._runner = web.ServerRunner(web.Server(self._answer, access_log=None), shutdown_timeout=0.1)
            await self._runner.setup()
            site = web.TCPSite(self._runner, HOST, 0)
            await site.start()
            self._port = self._runner.addresses[0][1]

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        loan = self._loans.get(request.path)
        if loan is None:
            return web.Response(status=404)
        asked = _RANGE.fullmatch(request.headers.get("range", ""))
        size = loan.parts.size
        if asked is None or int(asked[1]) >= size or int(asked[2]) < int(asked[1]):
            return web.Response(status=416, headers={"content-range": f"bytes */{size}"})
        start = int(asked[1])
        reader = asyncio.ensure_future(loan.parts.read(start, min(int(asked[2]) + 1 - start, LARGEST)))
        loan.readers.add(reader)
        reader.add_done_callback(loan.readers.discard)
        try:
            data = await reader
        except WorkerError as error:
            loan.trouble = error
            return web.Response(status=502)
        part = f"bytes {start}-{start + len(data) - 1}/{size}"
        return web.Response(body=data, status=206, headers={"content-range": part, "content-type": loan.content_type})
