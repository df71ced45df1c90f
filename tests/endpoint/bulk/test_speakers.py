"""A conversation in pieces, heard by the real server: who speaks is who speaks, whichever piece it is in."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
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
from tests.conftest import WHISPER
from tests.sound import wav
from tests.speech_server.voices import CONVERSATION, SAID, TRUTH

pytestmark = pytest.mark.anyio
SOUND = np.concatenate(list(decode.stream(CONVERSATION, decode.Limits(60))))
TIMES = 4  # the conversation is held
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


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recordings") / "talk.wav"
    path.write_bytes(wav((np.tile(SOUND, TIMES) * 32767).astype("<i2").tobytes()))
    return path


@pytest.fixture(scope="module")
def told() -> dict[int, Answer]:
    """What the server said of each piece, once for all tests."""
    return {}


@pytest.fixture
async def sender(server_url: str, told: dict[int, Answer]) -> Remembering:
    return Remembering(ByServer(find(f"{server_url}/v1", {}), "/audio/transcriptions", 120), told)


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
    """Every sentence of every time it is said, those beside a cut as well."""
    outcome = await transcribed(sender, readers, recording, tmp_path)
    assert (outcome.state, outcome.pieces) == ("done", 3), outcome.reason
    body = json.loads(outcome.source.output.read_text())
    assert {segment["speaker"] for segment in body["segments"]} == {"A", "B", "C"}
    for time in range(TIMES):
        shift = time * len(SOUND) / RATE
        for turn, said in zip(TRUTH, SAID, strict=True):
            spoken = [
                word["speaker"]
                for word in body["words"]
                if turn.start < (word["start"] + word["end"]) / 2 - shift < turn.end
            ]
            assert spoken.count(turn.speaker) >= len(said.split()) - 1, (time, turn, spoken)
            assert len(spoken) - spoken.count(turn.speaker) <= 1, (time, turn, spoken)


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
    assert same > 0.97 * len(words) > 200


async def test_every_format_names_them(sender: Remembering, readers: Readers, recording: Path, tmp_path: Path):
    await transcribed(sender, readers, recording, tmp_path)
    answers = [answer.text for _, answer in sorted(sender.told.items())]
    assert all(json.loads(answer)["speaker_encoder"]["model"] == "resemblyzer" for answer in answers)
    text, srt, vtt = (joined(shape, answers, speakers_in(FIELDS, shape)) for shape in ("text", "srt", "vtt"))
    told = "".join(line[0] for line in text.splitlines())
    # A's last words and A's first, of the time after, are one turn.
    assert told == "ABCACB" + "ABCACB" * (TIMES - 1) + "A"
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
