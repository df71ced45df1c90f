"""One piece on its way: as a job of a queue endpoint, or over HTTP to a server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from endpoint.api import Request, answer, job_of
from endpoint.bulk.cutting import Part
from endpoint.errors import NoResult, PlatformRefused, Refused
from endpoint.platform.answers import body
from endpoint.platform.http import Content
from endpoint.platform.jobs import Jobs, State
from endpoint.progress import Progress
from endpoint.where import Where
from speech_server.domain import REACH

PAUSES = 0.2, 1.0  # seconds between two questions about a job; the platform takes 200 of them a second
_GONE = 404  # HTTP: the platform knows no such job


@dataclass(frozen=True, slots=True)
class Answer:
    text: str
    queued: float = 0.0
    ran: float = 0.0


class Sender(Protocol):
    async def send(
        self, part: Part, fields: dict[str, Any], job_id: str | None = None, sent: Callable[[str], None] | None = None
    ) -> Answer:
        """The answer to a piece; `sent` is told the id of its job, `job_id` is one that another run has sent.

        Raises EndpointError.
        """
        ...


@dataclass(frozen=True, slots=True)
class ByJobs:
    jobs: Jobs
    path: str
    seconds: float
    webhook: str | None

    async def send(
        self, part: Part, fields: dict[str, Any], job_id: str | None = None, sent: Callable[[str], None] | None = None
    ) -> Answer:
        if job_id:
            try:
                return await self._end_of(job_id, None)
            except (Refused, PlatformRefused) as error:
                if isinstance(error, PlatformRefused) and error.status != _GONE:
                    raise
        more = {"webhook": self.webhook} if self.webhook else {}
        return await self._end_of(job_of(_request(self.path, part, fields), self.seconds, **more), sent)

    async def _end_of(self, job: Content | str, sent: Callable[[str], None] | None) -> Answer:
        try:
            async with asyncio.timeout(self.seconds), self.jobs.kept(job) as job_id:
                if sent:
                    sent(job_id)
                async for seen in self.jobs.follow(job_id, pauses=PAUSES):
                    if isinstance(seen, State) and seen.is_final:
                        text = b"".join([block async for block in body(seen.result())])
                        return Answer(text.decode(), seen.queued, seen.ran)
        except TimeoutError:
            pass
        raise NoResult(f"a piece had not ended after {self.seconds:g} s: cancelled; --timeout gives it longer")


@dataclass(frozen=True, slots=True)
class ByServer:
    where: Where
    path: str
    seconds: float

    async def send(
        self, part: Part, fields: dict[str, Any], job_id: str | None = None, sent: Callable[[str], None] | None = None
    ) -> Answer:
        request = _request(self.path, part, fields)
        with Progress(is_quiet=True) as nobody:
            parts = [part async for part in answer(self.where, request, nobody, self.seconds)]
        return Answer(b"".join(part for part in parts if isinstance(part, bytes)).decode())


def _request(path: str, part: Part, fields: dict[str, Any]) -> Request:
    return Request(path, {**fields, **clip_of(part)}, part.file, f"{part.number}.opus", file_url=part.url)


def clip_of(part: Part) -> dict[str, float]:
    """Form fields that make the times of a piece those of its recording."""
    if part.file:
        return {"clip_offset": part.start} | ({} if part.end is None else {"clip_end": part.end})
    fields = {"clip_start": part.start} if part.start else {}
    if part.end is not None:
        fields["clip_end"] = part.end
    return {**fields, "clip_zone": REACH} if fields else {}
