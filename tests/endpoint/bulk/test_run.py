"""What becomes of recordings whatever their pieces meet: nothing sent twice that was answered, each fails alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from endpoint.bulk import run
from endpoint.bulk.cutting import Part, Readers
from endpoint.bulk.run import Bulk, Outcome, Plan, Watcher, borders_of, measure, write_whole
from endpoint.bulk.send import Answer
from endpoint.bulk.sources import Source
from endpoint.errors import BadArgument, EndpointError, PlatformRefused, Refused, Unreachable
from tests.speech_server.audio.making import make, sweep

pytestmark = pytest.mark.anyio
VOICES = [1.0, 0.0], [0.0, 1.0]
PLAN = Plan({"model": "whisper-1"}, "text", 60.0, workers=2, retries=2, overwrite=False)


@dataclass
class Fake:
    """Answers each piece with its number; `fails` may raise for (piece, how often it was asked for)."""

    fails: Callable[[Part, int], None] = lambda part, attempt: None
    asked: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    resumed: list[str] = field(default_factory=list)
    at_once = most = 0
    hold: asyncio.Event | None = None
    language: str = "en"
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def until(self, asked: int) -> None:
        async with self.changed:
            await self.changed.wait_for(lambda: len(self.asked) >= asked)

    async def send(
        self, part: Part, fields: dict[str, Any], job_id: str | None = None, sent: Callable[[str], None] | None = None
    ) -> Answer:
        attempt = sum(number == part.number for number, _ in self.asked)
        self.asked.append((part.number, fields))
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        async with self.changed:
            self.changed.notify_all()
        try:
            if job_id:
                self.resumed.append(job_id)
            elif sent:
                sent(f"job-{part.number}")
            if self.hold and sent:
                await self.hold.wait()
            self.fails(part, attempt)
        finally:
            self.at_once -= 1
        segments: list[dict[str, Any]] = [{"text": f" {part.number}", "start": part.start, "end": part.start + 1}]
        body = {"task": "transcribe", "language": self.language, "duration": 1.0, "segments": segments, "words": None}
        if "diarize" in fields:
            segments[0]["speaker"] = "A"
            body |= {"speakers": [{"speaker": "A", "seconds": 9.0, "embedding": VOICES[part.number % 2]}]}
            body |= {"speaker_encoder": {"model": "ge2e", "apart": 0.26, "few_apart": 0.24}}
        return Answer(json.dumps(body), 1.0, 2.0)

    def pieces(self) -> list[int]:
        """Those that were sent to be heard, and not for their language."""
        return [number for number, fields in self.asked if "language" in fields]


@pytest.fixture
async def readers() -> AsyncIterator[Readers]:
    readers = Readers(2)
    yield readers
    await readers.close()


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(run, "FIRST_PAUSE", 0.01)


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 s: four pieces of 60."""
    path = tmp_path_factory.mktemp("recordings") / "long.flac"
    path.write_bytes(make("flac", sound=sweep(200.0, 16_000)))
    return path


def source_of(path: Path, out: Path) -> Source:
    return Source(path.name, path, None, (str(path), path.stat().st_size), out / f"{path.name}.txt")


async def transcribed(fake: Fake, readers: Readers, *sources: Source, plan: Plan = PLAN) -> list[Outcome]:
    said: list[str] = []
    watcher = Watcher(lambda *_: None, lambda *_: None, lambda outcome, why: said.append(why))
    outcomes = await measure(sources, readers, overwrite=plan.overwrite, seen=lambda: None)
    await Bulk(fake, readers, plan, watcher).run(outcomes)
    return outcomes


async def test_pieces_are_joined_in_order_whenever_they_come(readers: Readers, long: Path, tmp_path: Path):
    fake = Fake()
    source = source_of(long, tmp_path)
    (outcome,) = await transcribed(fake, readers, source)
    assert (outcome.state, outcome.pieces, outcome.queued, outcome.ran) == ("done", 4, 4.0, 8.0)
    assert source.output.read_text() == "0 1 2 3\n"
    assert await asyncio.to_thread(lambda: [path.name for path in tmp_path.iterdir()]) == ["long.flac.txt"]


async def test_the_language_is_found_once(readers: Readers, long: Path, tmp_path: Path):
    fake = Fake(language="de")
    await transcribed(fake, readers, source_of(long, tmp_path))
    assert [fields.get("language") for _, fields in fake.asked] == [None, "de", "de", "de", "de"]


async def test_who_speaks_is_asked_of_pieces_and_counted_over_all_of_them(readers: Readers, long: Path, tmp_path: Path):
    """The first run asks for more people than were heard; the next one, with another number, sends nothing again."""
    plan = replace(PLAN, fields={"diarize": True, "num_speakers": 5})
    source = source_of(long, tmp_path)
    (outcome,) = await transcribed(fake := Fake(), readers, source, plan=plan)
    assert (outcome.state, "speech enough for 4" in outcome.reason) == ("failed", True)
    assert [("diarize" in fields, "num_speakers" in fields) for _, fields in fake.asked] == [
        (False, False), *[(True, False)] * 4,
    ]  # fmt: skip
    assert all(fields["response_format"] == "verbose_json" for _, fields in fake.asked)
    plan = replace(PLAN, fields={"diarize": True, "num_speakers": 2})
    (outcome,) = await transcribed(again := Fake(), readers, source, plan=plan)
    assert (outcome.state, again.asked) == ("done", [])
    assert source.output.read_text() == "A: 0\nB: 1\nA: 2\nB: 3\n"


async def test_a_recording_of_one_piece_is_counted_where_it_is_heard(readers: Readers, tmp_path: Path):
    (tmp_path / "short.wav").write_bytes(make("wav"))
    plan = replace(PLAN, fields={"diarize": True, "num_speakers": 1})
    (outcome,) = await transcribed(fake := Fake(), readers, source_of(tmp_path / "short.wav", tmp_path), plan=plan)
    assert outcome.state == "done"
    assert [fields["num_speakers"] for _, fields in fake.asked] == [1]


async def test_a_silent_beginning_is_asked_for_it_no_more_than_three_times(
    readers: Readers, long: Path, tmp_path: Path
):
    fake = Fake(language="und")
    (outcome,) = await transcribed(fake, readers, source_of(long, tmp_path))
    assert outcome.state == "done"
    assert len(fake.asked) == 4 + 3


async def test_a_language_that_is_given_is_not_asked_for(readers: Readers, long: Path, tmp_path: Path):
    fake = Fake()
    await transcribed(fake, readers, source_of(long, tmp_path), plan=replace(PLAN, fields={"language": "fr"}))
    assert [fields["language"] for _, fields in fake.asked] == ["fr"] * 4


async def test_no_more_is_sent_than_the_workers_can_take(readers: Readers, long: Path, tmp_path: Path):
    fake = Fake(hold=asyncio.Event())
    sources = [replace(source_of(long, tmp_path), output=tmp_path / f"{number}.txt") for number in range(5)]
    plan = replace(PLAN, workers=1, fields={"language": "en"})
    running = asyncio.create_task(transcribed(fake, readers, *sources, plan=plan))
    await fake.until(run.AHEAD)
    fake.hold.set()  # type: ignore[union-attr]
    assert [outcome.state for outcome in await running] == ["done"] * 5
    assert fake.most == run.AHEAD


@pytest.mark.parametrize("error", [Unreachable("away"), Refused("worker died"), PlatformRefused("busy", 429)])
async def test_a_piece_that_fails_is_sent_again(readers: Readers, long: Path, tmp_path: Path, error: EndpointError):
    def fails(part: Part, attempt: int) -> None:
        if part.number == 2 and attempt < 2:
            raise error

    fake = Fake(fails)
    source = source_of(long, tmp_path)
    (outcome,) = await transcribed(fake, readers, source)
    assert outcome.state == "done"
    assert source.output.read_text() == "0 1 2 3\n"


async def test_but_not_for_ever_and_what_was_heard_is_kept(readers: Readers, long: Path, tmp_path: Path):
    def fails(part: Part, attempt: int) -> None:
        if part.number == 3:
            raise Unreachable("away")

    source = source_of(long, tmp_path)
    (outcome,) = await transcribed(Fake(fails), readers, source, plan=replace(PLAN, workers=1))
    assert (outcome.state, outcome.reason) == ("failed", "away")
    assert not source.output.exists()
    again = Fake()
    (outcome,) = await transcribed(again, readers, source)
    assert (outcome.state, again.pieces()) == ("done", [3])
    assert source.output.read_text() == "0 1 2 3\n"


async def test_what_the_api_refuses_is_not_sent_again_and_stops_no_other(readers: Readers, long: Path, tmp_path: Path):
    def fails(part: Part, attempt: int) -> None:
        if part.number == 1:
            raise Refused("404 model_not_found: no such model", 404)

    fake = Fake(fails)
    (tmp_path / "short.wav").write_bytes(make("wav"))
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    paths = [long, tmp_path / "short.wav", tmp_path / "broken.wav"]
    sources = [source_of(path, tmp_path / "out") for path in paths]
    refused, short, broken = await transcribed(fake, readers, *sources, plan=replace(PLAN, workers=1))
    assert (refused.state, refused.reason) == ("failed", "404 model_not_found: no such model")
    assert fake.pieces().count(1) == 1
    assert (broken.state, short.state) == ("failed", "done")
    assert "cannot be decoded" in broken.reason or "invalid" in broken.reason.lower()


async def test_a_run_that_is_cancelled_goes_on_where_it_was(readers: Readers, long: Path, tmp_path: Path):
    source = source_of(long, tmp_path)

    def fails(part: Part, attempt: int) -> None:
        if part.number == 2:
            first.cancel()

    first = asyncio.create_task(transcribed(Fake(fails), readers, source, plan=replace(PLAN, workers=1)))
    await asyncio.wait([first], timeout=20)
    assert first.cancelled()
    again = Fake()
    (outcome,) = await transcribed(again, readers, source)
    assert outcome.state == "done"
    assert source.output.read_text() == "0 1 2 3\n"
    assert not set(again.pieces()) & {0, 1}


async def test_a_job_that_was_sent_and_not_heard_of_is_asked_for(readers: Readers, long: Path, tmp_path: Path):
    source = source_of(long, tmp_path)
    fake = Fake(hold=asyncio.Event())
    first = asyncio.create_task(transcribed(fake, readers, source))
    await fake.until(5)
    first.cancel()
    await asyncio.wait([first])
    again = Fake()
    await transcribed(again, readers, source)
    assert sorted(again.resumed) == ["job-0", "job-1", "job-2", "job-3"]


async def test_what_is_there_is_not_written_over(readers: Readers, long: Path, tmp_path: Path):
    source = source_of(long, tmp_path)
    source.output.write_text("mine")
    (outcome,) = await transcribed(fake := Fake(), readers, source)
    assert (outcome.state, fake.asked, source.output.read_text()) == ("exists", [], "mine")
    (outcome,) = await transcribed(Fake(), readers, source, plan=replace(PLAN, overwrite=True))
    assert (outcome.state, source.output.read_text()) == ("done", "0 1 2 3\n")


def test_nor_what_came_meanwhile(tmp_path: Path):
    (tmp_path / "x.txt").write_text("mine")
    with pytest.raises(FileExistsError):
        write_whole(tmp_path / "x.txt", "new", overwrite=False)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


async def test_a_text_that_cannot_be_written_fails_alone(readers: Readers, long: Path, tmp_path: Path):
    (tmp_path / "file").write_text("no folder")
    (outcome,) = await transcribed(Fake(), readers, source_of(long, tmp_path / "file"))
    assert outcome.state == "failed"


async def test_two_runs_at_once_do_not_do_the_same_work(readers: Readers, long: Path, tmp_path: Path):
    source = source_of(long, tmp_path)
    fake = Fake(hold=asyncio.Event())
    first = asyncio.create_task(transcribed(fake, readers, source))
    await fake.until(1)
    (second,) = await transcribed(Fake(), readers, source)
    assert (second.state, "another run" in second.reason) == ("failed", True)
    fake.hold.set()  # type: ignore[union-attr]
    assert (await first)[0].state == "done"


@pytest.mark.parametrize(
    ("seconds", "borders"),
    [(None, [0.0]), (0.5, [0.0]), (600.0, [0.0]), (615.0, [0.0, 600.0]), (1800.0, [0.0, 600.0, 1200.0])],
)
def test_the_last_piece_of_a_link_is_open(seconds: float | None, borders: list[float]):
    assert borders_of(seconds, 600.0) == borders


async def test_a_piece_that_no_job_can_hold_is_not_tried_again(readers: Readers, long: Path, tmp_path: Path):
    def fails(part: Part, attempt: int) -> None:
        raise BadArgument("12.0 MB as a job")

    fake = Fake(fails)
    plan = replace(PLAN, workers=1, fields={"language": "en"})
    (outcome,) = await transcribed(fake, readers, source_of(long, tmp_path), plan=plan)
    assert (outcome.state, outcome.reason) == ("failed", "12.0 MB as a job")
    assert len(set(fake.pieces())) == len(fake.pieces())
