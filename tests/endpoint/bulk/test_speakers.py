"""A conversation in pieces, heard by the real server: who speaks is who speaks, whichever piece it is in."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from endpoint.bulk.cutting import Part, Readers
from endpoint.bulk.join import joined
from endpoint.bulk.people import speakers_in
from endpoint.bulk.run import Bulk, Outcome, Plan, Watcher, measure
from endpoint.bulk.send import Answer, ByServer, Sender
from endpoint.bulk.sources import Source
from endpoint.where import find
from speech_server.audio import decode
from speech_server.domain import RATE
from tests.conftest import ENCODER, WHISPER
from tests.sound import wav
from tests.speech_server.voices import CONVERSATION, SAID, TRUTH

# One worker, so that the pieces are heard once.
pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.xdist_group("speakers")]
SOUND = np.concatenate(list(decode.stream(CONVERSATION, decode.Limits(60))))
# Sentences of the conversation; between the parts it is longest quiet, so there it is cut. Each begins with another.
PARTS = (0, 1, 2, 3, 4, 5, 6, 1, 0), (2, 1, 5, 4, 0, 6, 3, 2), (1, 4, 5, 0, 2, 6, 3)
PAUSE, LONG_PAUSE = 0.4, 1.5  # seconds
PIECE = 31.0  # seconds: three pieces, the shortest there can be
FIELDS = {"model": WHISPER, "language": "en", "diarize": True, "timestamp_granularities": ["word"]}


@dataclass
class Remembering:
    """Asks `sender`, and what it was told before tells again. `most` answers: then nobody hears it any more."""

    sender: Sender
    told: dict[int, Answer] = field(default_factory=dict)
    most: int | None = None
    stopped: asyncio.Event = field(default_factory=asyncio.Event)

    async def send(
        self, part: Part, fields: dict[str, Any], job_id: str | None = None, sent: Callable[[str], None] | None = None
    ) -> Answer:
        if self.most is not None and part.number >= self.most:
            self.stopped.set()
            await asyncio.Event().wait()
        if part.number not in self.told:
            self.told[part.number] = await self.sender.send(part, fields, job_id, sent)
        return self.told[part.number]


def spoken() -> Iterator[tuple[float, int]]:
    """Second and number of each sentence."""
    at = LONG_PAUSE
    for part in PARTS:
        for number in part:
            yield at, number
            at += TRUTH[number].end - TRUTH[number].start + PAUSE
        at += LONG_PAUSE - PAUSE


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    samples = np.zeros(90 * RATE, np.float32)
    for at, number in spoken():
        sentence = SOUND[round(TRUTH[number].start * RATE) : round(TRUTH[number].end * RATE)]
        samples[round(at * RATE) : round(at * RATE) + len(sentence)] = sentence
    path = tmp_path_factory.mktemp("recordings") / "talk.wav"
    path.write_bytes(wav((samples * 32767).astype("<i2").tobytes()))
    return path


@pytest.fixture(scope="module")
def told() -> dict[int, Answer]:
    """What the server said of each piece, once for all tests."""
    return {}


@pytest.fixture
async def sender(server_url: str, told: dict[int, Answer]) -> Remembering:
    return Remembering(ByServer(find(f"{server_url}/v1", {}), "/audio/transcriptions", 240), told)


@pytest.fixture
async def readers() -> AsyncIterator[Readers]:
    readers = Readers(1)
    yield readers
    await readers.close()


async def transcribed(sender: Sender, readers: Readers, path: Path, out: Path, shape: str = "verbose_json") -> Outcome:
    source = Source(path.name, path, None, (str(path),), out / "talk")
    (outcome,) = await measure([source], readers, overwrite=False, seen=lambda: None)
    await Bulk(sender, readers, Plan(FIELDS, shape, PIECE, 1, 0, overwrite=False), Watcher()).run([outcome])
    return outcome


async def test_the_same_voice_has_one_letter_in_all_pieces(
    sender: Remembering, readers: Readers, recording: Path, tmp_path: Path
):
    """Every sentence, those beside a cut as well."""
    outcome = await transcribed(sender, readers, recording, tmp_path)
    assert (outcome.state, outcome.pieces) == ("done", 3), outcome.reason
    firsts = [json.loads(answer.text)["words"][0]["word"] for _, answer in sorted(sender.told.items())]
    assert firsts == ["The", "My", "I"]
    body = json.loads(outcome.source.output.read_text())
    assert {segment["speaker"] for segment in body["segments"]} == {"A", "B", "C"}
    for start, number in spoken():
        turn, words = TRUTH[number], len(SAID[number].split())
        end = start + turn.end - turn.start
        said_by = [word["speaker"] for word in body["words"] if start < (word["start"] + word["end"]) / 2 < end]
        assert said_by.count(turn.speaker) >= words - 1, (start, turn, said_by)
        assert len(said_by) - said_by.count(turn.speaker) <= 1, (start, turn, said_by)


async def test_one_request_for_the_whole_tells_the_same(
    sender: Remembering, readers: Readers, recording: Path, tmp_path: Path, server_url: str
):
    outcome = await transcribed(sender, readers, recording, tmp_path)
    words = json.loads(outcome.source.output.read_text())["words"]
    async with httpx.AsyncClient(timeout=120) as client:
        sent: Any = {"files": {"file": await asyncio.to_thread(recording.read_bytes)}, "data": {"num_speakers": "3"}}
        whole = (await client.post(f"{server_url}/v1/audio/diarization", **sent)).json()
    same = 0
    for word in words:
        middle = (word["start"] + word["end"]) / 2
        nearest = min(whole["segments"], key=lambda turn: max(turn["start"] - middle, middle - turn["end"]))
        same += word["speaker"] == nearest["speaker"]
    assert same > 0.97 * len(words) > 150


async def test_every_format_names_them(sender: Remembering, readers: Readers, recording: Path, tmp_path: Path):
    await transcribed(sender, readers, recording, tmp_path)
    answers = [answer.text for _, answer in sorted(sender.told.items())]
    assert all(json.loads(answer)["speaker_encoder"]["model"] == ENCODER for answer in answers)
    text, srt, vtt = (joined(shape, answers, speakers_in(FIELDS, shape)) for shape in ("text", "srt", "vtt"))
    told = "".join(line[0] for line in text.splitlines())
    assert told == "".join(name for name, _ in groupby(TRUTH[number].speaker for _, number in spoken()))
    cues = [cue.split("\n", 2)[2] for cue in srt.strip().split("\n\n")]
    assert {cue[:3] for cue in cues} == {"A: ", "B: ", "C: "}
    assert vtt.count("<v A>") + vtt.count("<v B>") + vtt.count("<v C>") == len(cues)


async def test_what_was_interrupted_ends_in_the_same_file(
    sender: Remembering, readers: Readers, recording: Path, tmp_path: Path
):
    whole = await transcribed(sender, readers, recording, tmp_path / "whole", "srt")
    sender.most = 2
    first = asyncio.create_task(transcribed(sender, readers, recording, tmp_path / "again", "srt"))
    await asyncio.wait_for(sender.stopped.wait(), 60)
    first.cancel()
    await asyncio.wait([first])
    kept = (tmp_path / "again/talk.pieces").read_text()
    assert "speaker_encoder" in kept
    again = Remembering(sender.sender, {2: sender.told[2]})
    outcome = await transcribed(again, readers, recording, tmp_path / "again", "srt")
    assert (outcome.state, sorted(again.told)) == ("done", [2])
    assert outcome.source.output.read_bytes() == whole.source.output.read_bytes()
