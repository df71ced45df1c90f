"""A long recording goes to several workers in pieces, and its answer is one: `transcribe`'s own code."""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from starlette.responses import Response

from endpoint.bulk.cutting import Readers
from endpoint.bulk.join import ASKED
from endpoint.bulk.people import speakers_in
from endpoint.bulk.run import READERS, RETRIES, WORKERS, Bulk, Outcome, Plan, Watcher
from endpoint.bulk.send import ByJobs
from endpoint.bulk.sources import Source
from endpoint.errors import EndpointError, Refused
from endpoint.gateway.incoming import Call, File
from endpoint.gateway.options import Options
from endpoint.platform.jobs import Jobs
from speech_server.domain import SECTION

log = logging.getLogger("endpoint.gateway")

_SMALLEST = 1_000_000  # bytes: less is no long recording, whatever its codec
_TYPES = {"text": "text/plain", "srt": "application/x-subrip", "vtt": "text/vtt"}
# What cannot be put together out of pieces, or is about a part already.
_WHOLE = {"include", "clip_start", "clip_end", "clip_zone", "clip_offset"}


class Pieces:
    def __init__(self, options: Options) -> None:
        self._options = options
        self._readers = Readers(READERS)
        self.at_work = 0

    async def close(self) -> None:
        await self._readers.close()

    @asynccontextmanager
    async def of(self, call: Call) -> AsyncIterator[Outcome | None]:
        """The recording of the call, where it is one that is heard in pieces."""
        shape = (call.body or {}).get("response_format", "json")
        (file,) = call.files if len(call.files) == 1 else (None,)
        may = self._options.pieces and call.hears and not call.streams and not _WHOLE & set(call.body or {})
        if not may or str(shape) not in ASKED or file is None or file.size < _SMALLEST or not _is_sound(call):
            yield None
            return
        self.at_work += 1
        try:
            async with self._measured(file) as outcome:
                yield outcome if (outcome.seconds or 0.0) > self._options.pieces else None
        finally:
            self.at_work -= 1

    @asynccontextmanager
    async def _measured(self, file: File) -> AsyncIterator[Outcome]:
        with tempfile.TemporaryDirectory(prefix="gateway-") as folder:
            path = Path(folder) / "recording"
            await asyncio.to_thread(_copy, file.content, path)
            outcome = Outcome(Source(file.name, path, None, (), Path(folder) / "answer"))
            with suppress(Refused):  # the API says better what is wrong with it
                outcome.seconds = await self._readers.length_of(str(path))
            yield outcome

    async def answer(self, call: Call, outcome: Outcome, jobs: Jobs) -> Response:
        """Raises EndpointError."""
        shape = (call.body or {}).get("response_format", "json")
        fields = {name: value for name, value in (call.body or {}).items() if name not in ("response_format", "stream")}
        plan = Plan(fields, shape, SECTION, WORKERS, RETRIES, overwrite=True)
        sender = ByJobs(jobs, f"/audio/{call.path.rpartition('/')[2]}", self._options.timeout, None)
        await Bulk(sender, self._readers, plan, Watcher()).run([outcome])
        log.info("%s: %.0f s of sound in %d pieces", outcome.source.name, outcome.heard, outcome.pieces)
        if outcome.error is not None:
            raise outcome.error if isinstance(outcome.error, EndpointError) else Refused(str(outcome.error))
        text = await asyncio.to_thread(outcome.source.output.read_bytes)
        times = {"x-queue-seconds": f"{outcome.queued:.3f}", "x-worker-seconds": f"{outcome.ran:.3f}"}
        return Response(text, media_type=_TYPES.get(shape, "application/json"), headers=times)


def _is_sound(call: Call) -> bool:
    """What asks for speakers in a way that is none goes as it is: the API says better what is wrong with it."""
    body = call.body or {}
    try:
        speakers_in(body, body.get("response_format", "json"))
    except ValueError:
        return False
    return True


def _copy(file: BinaryIO, path: Path) -> None:
    file.seek(0)
    with path.open("wb") as copy:
        shutil.copyfileobj(file, copy)
    file.seek(0)
