"""Local recordings are read by processes that can die of them, and cut where the server would cut them."""

from __future__ import annotations

import asyncio
import io
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest

from endpoint.bulk.cutting import Part, Reader, Readers
from endpoint.errors import Refused
from speech_server.audio.budget import Limits
from speech_server.audio.decode import stream
from speech_server.domain import RATE, Clip
from speech_server.hearing.clip import Clipper, Cut, clipped
from tests.speech_server.audio.making import make, sweep

pytestmark = pytest.mark.anyio


@pytest.fixture
async def readers() -> AsyncIterator[Readers]:
    readers = Readers(2)
    yield readers
    await readers.close()


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """150 s: loud, with a second's pause at 55 and 125."""
    sound = sweep(150.0, RATE)
    for at in (55, 125):
        sound[at * RATE : (at + 1) * RATE] = 0
    path = tmp_path / "odd \n name.flac"
    path.write_bytes(make("flac", sound=sound))
    return path


@dataclass(frozen=True)
class Got:
    """A piece, read and closed."""

    start: float
    end: float | None
    sound: bytes | None


def got(part: Part) -> Got:
    sound = part.file.read() if part.file and not part.file.seek(0) else None
    part.close()
    return Got(part.start, part.end, sound)


async def pieces(reader: Reader) -> list[Got]:
    found = []
    while part := await reader.next():
        found.append(got(part))
    return found


async def test_pieces_are_cut_in_pauses_and_leave_nothing_out(readers: Readers, recording: Path):
    async with readers.pieces_of(recording, 60, ()) as reader:
        parts = await pieces(reader)
    assert [part.start for part in parts] == pytest.approx([0, 55.5, 125.5], abs=0.05)
    assert [part.end for part in parts] == [*(part.start for part in parts[1:]), 150.0]
    for part in parts:
        assert part.sound
        assert part.end
        sound = np.concatenate(list(stream(io.BytesIO(part.sound), Limits(1000))))
        assert len(sound) == pytest.approx((part.end - part.start) * RATE, abs=0.1 * RATE)


async def test_the_server_would_have_cut_there(readers: Readers, recording: Path):
    blocks = stream(recording, Limits(1000))
    cuts = [part.position / RATE for part in clipped(blocks, Clipper(Clip(), section=60)) if isinstance(part, Cut)]
    async with readers.pieces_of(recording, 60, ()) as reader:
        assert [part.start for part in await pieces(reader)] == cuts


async def test_what_is_done_comes_without_its_sound(readers: Readers, recording: Path):
    async with readers.pieces_of(recording, 60, [0, 2]) as reader:
        assert [part.sound is not None for part in await pieces(reader)] == [False, True, False]
    assert await readers.length_of(str(recording)) == 150.0, "whoever read it reads on"


async def test_no_piece_is_made_before_it_is_asked_for(readers: Readers, recording: Path):
    async with readers.pieces_of(recording, 60, ()) as reader:
        assert (first := await reader.next())
        assert got(first).start == 0
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader._out.read(1), 0.5)


@pytest.mark.parametrize("content", [b"", b"no sound" * 99, make("wav")[:20]])
async def test_what_is_no_recording_is_refused_and_harms_no_other(readers: Readers, tmp_path: Path, content: bytes):
    path = tmp_path / "x.mp3"
    path.write_bytes(content)
    (tmp_path / "good.wav").write_bytes(make("wav", seconds=2.0))
    for _ in range(3):
        with pytest.raises(Refused):
            await readers.length_of(str(path))
        with pytest.raises(Refused):
            async with readers.pieces_of(path, 60, ()) as reader:
                await reader.next()
    assert await readers.length_of(str(tmp_path / "good.wav")) == 2.0


async def test_a_reader_that_is_killed_is_replaced(readers: Readers, recording: Path):
    async with readers.pieces_of(recording, 60, ()) as reader:
        assert (first := await reader.next())
        assert got(first).sound
        os.kill(reader._process.pid, signal.SIGKILL)
        with pytest.raises(Refused, match="ended with"):
            await pieces(reader)
    assert await readers.length_of(str(recording)) == 150.0


async def test_readers_end_with_whoever_started_them(recording: Path):
    readers = Readers(2)
    await asyncio.gather(*(readers.length_of(str(recording)) for _ in range(4)))
    started = [process.pid for process in readers._idle]
    assert len(started) == 2
    await readers.close()
    assert not any(psutil.pid_exists(pid) for pid in started)


async def test_they_see_no_secret(monkeypatch: pytest.MonkeyPatch, readers: Readers, recording: Path):
    monkeypatch.setenv("RUNPOD_API_KEY", "a-secret")
    async with readers.pieces_of(recording, 60, ()) as reader:
        assert (first := await reader.next())
        assert got(first).sound
        assert b"a-secret" not in await asyncio.to_thread(Path(f"/proc/{reader._process.pid}/environ").read_bytes)
