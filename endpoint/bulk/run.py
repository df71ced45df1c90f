"""Recordings to text: which pieces are sent when, what becomes of each, and what is written at the end.

The queue and the autoscaler are the endpoint's. Here is only so much work kept ready as its workers can take, and
everything written down that would be missed.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from endpoint.bulk.cutting import Part, Readers
from endpoint.bulk.join import asked, joined, language_of
from endpoint.bulk.manifest import Done, Manifest
from endpoint.bulk.people import piece_fields, speakers_in, without_speakers
from endpoint.bulk.send import Answer, Sender
from endpoint.bulk.sources import Source
from endpoint.errors import EndpointError, Refused
from speech_server.domain import REACH

AHEAD = 2  # pieces that are sent for each worker: the next one waits when one has ended
WORKERS, RETRIES = 8, 2  # unless said otherwise
READERS = 4  # local recordings that are read at once
LANGUAGE_SECONDS = 40.0  # of a piece, from which the language of the recording is found
LANGUAGE_PIECES = 3  # that are tried for it: the first may be music
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0  # seconds before a piece is sent again


@dataclass(frozen=True, slots=True)
class Plan:
    """`piece`: seconds. `fields` go with every piece; `shape` is the format that is written."""

    fields: dict[str, Any]
    shape: str
    piece: float
    workers: int
    retries: int
    overwrite: bool


@dataclass(slots=True)
class Outcome:
    """What has become of a recording. `seconds` of sound, as far as known; `queued` and `ran`: of its jobs together."""

    source: Source
    state: Literal["waiting", "done", "exists", "failed"] = "waiting"
    seconds: float | None = None
    heard: float = 0.0
    pieces: int = 0
    error: Exception | None = None
    queued: float = 0.0
    ran: float = 0.0

    @property
    def reason(self) -> str:
        return self.error.message if isinstance(self.error, EndpointError) else str(self.error or "")


@dataclass(slots=True)
class Watcher:
    """Who is told what happens: seconds of sound that have been heard (in this run?), the end of a recording, a piece
    that is sent again and why."""

    heard: Callable[[Outcome, float, bool], None] = lambda *_: None
    ended: Callable[[Outcome], None] = lambda _: None
    again: Callable[[Outcome, str], None] = lambda *_: None
    at_work: int = 0


class Bulk:
    def __init__(self, sender: Sender, readers: Readers, plan: Plan, watcher: Watcher) -> None:
        self._sender = sender
        self._readers = readers
        self._plan = plan
        self._watcher = watcher
        self._speakers = speakers_in(plan.fields, plan.shape)
        self._slots = asyncio.Semaphore(AHEAD * plan.workers)
        self._open = asyncio.Semaphore(AHEAD * plan.workers + READERS)

    async def run(self, outcomes: Sequence[Outcome]) -> None:
        """To the end of each; what fails is in its outcome."""
        async with asyncio.TaskGroup() as group:
            for outcome in outcomes:
                group.create_task(self._whole(outcome))

    async def _whole(self, outcome: Outcome) -> None:
        try:
            if outcome.state == "waiting":
                async with self._open:
                    await self._recording(outcome)
        except* (EndpointError, OSError, ValueError) as group:
            outcome.state, outcome.error = "failed", _first(group)
        self._watcher.ended(outcome)

    async def _recording(self, outcome: Outcome) -> None:
        source, plan = outcome.source, self._plan
        about = {"source": source.mark, "fields": self._asked(outcome), "format": plan.shape, "piece": plan.piece}
        with Manifest(source.output.with_name(f"{source.output.name}.pieces"), about) as manifest:
            for done in manifest.done.values():
                self._count(outcome, done, is_new=False)
            if not manifest.is_whole:
                async with asyncio.TaskGroup() as group:
                    pieces = self._local if source.path else self._remote
                    async with aclosing(pieces(outcome, manifest)) as parts:
                        async for part in parts:
                            await self._find_language(part, manifest, outcome)
                            task = group.create_task(self._piece(part, manifest, outcome))
                            # Not by the task itself: one that is cancelled before it has begun does nothing.
                            task.add_done_callback(partial(self._give_back, part))
            if not manifest.is_whole:
                raise Refused(f"{len(manifest.done)} of {manifest.count} pieces were heard")
            text = await asyncio.to_thread(joined, plan.shape, manifest.texts(), self._speakers)
            await asyncio.to_thread(write_whole, source.output, text, overwrite=plan.overwrite)
            outcome.state = "done"
            manifest.remove()

    # --- which pieces ---

    async def _local(self, outcome: Outcome, manifest: Manifest) -> AsyncGenerator[Part, None]:
        """Each while a slot is held for it, which whoever gets it gives back."""
        count = 0
        assert outcome.source.path
        path, piece = outcome.source.path, self._plan.piece
        async with self._readers.pieces_of(path, piece, manifest.done.keys()) as pieces:
            while True:
                await self._slots.acquire()
                try:
                    part = await pieces.next()
                except BaseException:
                    self._slots.release()
                    raise
                if part is None or part.file is None:
                    self._slots.release()
                if part is None:
                    break
                count += 1
                if part.file is not None:
                    yield part
        manifest.found(count=count)

    async def _remote(self, outcome: Outcome, manifest: Manifest) -> AsyncGenerator[Part, None]:
        borders = borders_of(outcome.seconds, self._plan.piece)
        manifest.found(count=len(borders))
        for number, start in enumerate(borders):
            if number not in manifest.done:
                end = borders[number + 1] if number + 1 < len(borders) else None
                await self._slots.acquire()
                yield Part(number, start, end, url=outcome.source.url)

    # --- one piece ---

    async def _find_language(self, part: Part, manifest: Manifest, outcome: Outcome) -> None:
        """Of the whole recording, once: the pieces of one that has many are not each of another language."""
        is_known = "language" in self._plan.fields or manifest.language is not None
        is_alone = part.number == 0 and (outcome.seconds or 0) <= self._plan.piece
        if is_known or is_alone or part.number >= LANGUAGE_PIECES:
            return
        beginning = Part(part.number, part.start, part.start + LANGUAGE_SECONDS, part.file, part.url)
        fields = {**without_speakers(self._plan.fields), "response_format": "verbose_json"}
        try:
            answer = await self._answered(beginning, fields, outcome, None, None)
        except BaseException:
            self._give_back(part)
            raise
        if language := language_of(answer.text):
            manifest.found(language=language)

    def _asked(self, outcome: Outcome) -> dict[str, Any]:
        """Of each piece of a recording: the same in every run that may go on with its answers."""
        if not self._speakers:
            return self._plan.fields
        is_known = outcome.seconds is not None or outcome.source.url is not None
        is_alone = is_known and len(borders_of(outcome.seconds, self._plan.piece)) == 1
        return piece_fields(self._plan.fields, self._plan.shape, is_alone=is_alone)

    async def _piece(self, part: Part, manifest: Manifest, outcome: Outcome) -> None:
        fields = {**self._asked(outcome), "response_format": asked(self._plan.shape, self._speakers)}
        if manifest.language:
            fields.setdefault("language", manifest.language)
        answer = await self._answered(
            part, fields, outcome, manifest.jobs.get(part.number),
            lambda job_id: manifest.found(piece=part.number, job=job_id),
        )  # fmt: skip
        done = Done(part.start, part.end, answer.text, answer.queued, answer.ran)
        manifest.heard(part.number, done)
        self._count(outcome, done, is_new=True)

    def _give_back(self, part: Part, _: object = None) -> None:
        part.close()
        self._slots.release()

    async def _answered(
        self,
        part: Part,
        fields: dict[str, Any],
        outcome: Outcome,
        job_id: str | None,
        sent: Callable[[str], None] | None,
    ) -> Answer:
        pause = FIRST_PAUSE
        for attempt in range(self._plan.retries + 1):
            try:
                self._watcher.at_work += 1
                return await self._sender.send(part, fields, job_id, sent)
            except EndpointError as error:
                if attempt == self._plan.retries or error.is_for_good:
                    raise
                self._watcher.again(outcome, error.message)
            finally:
                self._watcher.at_work -= 1
            job_id = None
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - so that not all come back at once
            pause = min(2 * pause, LONGEST_PAUSE)
        raise AssertionError("unreachable")

    def _count(self, outcome: Outcome, done: Done, *, is_new: bool) -> None:
        outcome.pieces += 1
        outcome.queued += done.queued
        outcome.ran += done.ran
        end = outcome.seconds if done.end is None else done.end
        seconds = max((end or done.start) - done.start, 0.0)
        outcome.heard += seconds
        self._watcher.heard(outcome, seconds, is_new)


def borders_of(seconds: float | None, piece: float) -> list[float]:
    """Where the pieces of a recording begin. The last one is open: a header may be wrong, and no tail is lost."""
    count = 1 if seconds is None else max(int((seconds - REACH) // piece) + 1, 1)
    return [number * piece for number in range(count)]


async def measure(
    sources: Sequence[Source], readers: Readers, *, overwrite: bool, seen: Callable[[], object]
) -> list[Outcome]:
    """How long each is; one that cannot be read has failed, one whose text is there has been done."""

    async def one(source: Source) -> Outcome:
        outcome = Outcome(source)
        if source.output.exists() and not overwrite:
            outcome.state = "exists"
        else:
            try:
                outcome.seconds = await readers.length_of(str(source.path or source.url))
            except Refused as error:
                if source.path:  # a link that cannot be read in parts may still be fetched as a whole
                    outcome.state, outcome.error = "failed", error
        seen()
        return outcome

    return list(await asyncio.gather(*map(one, sources)))


def write_whole(path: Path, text: str, *, overwrite: bool) -> None:
    """Under its name only when it is all there. Raises FileExistsError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            temporary.replace(path)
        else:
            _put(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _put(temporary: Path, path: Path) -> None:
    try:
        os.link(temporary, path)
    except OSError:  # it is there; or the file system has no links
        if path.exists():
            raise FileExistsError(f"{path} is there already: --overwrite replaces it") from None
        temporary.replace(path)


def _first(group: ExceptionGroup[Exception]) -> Exception:
    error: Exception = group
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
