from __future__ import annotations

import asyncio
import io
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import av
import pytest

from speech_server.audio.encode import AudioFormat
from speech_server.engines.interfaces import SpeakOptions
from speech_server.errors import InvalidRequest, RequestTooLarge, StorageFull
from speech_server.text_to_speech import CONTENT_TYPES, Bounds, speak

if TYPE_CHECKING:
    from speech_server.engines.kokoro.engine import KokoroSpeaker
    from speech_server.engines.piper.engine import PiperSpeaker

pytestmark = pytest.mark.anyio

TEXT = "A short sentence to be heard. And a second one, just as short."
JOE = SpeakOptions("joe")
BOUNDS = Bounds(seconds=600, keep_free=0)


def seconds_of(data: bytes) -> float:
    with av.open(io.BytesIO(data)) as container:
        rate = container.streams.audio[0].rate
        return sum(frame.samples for frame in container.decode(audio=0)) / rate


def test_every_format_has_a_content_type():
    assert set(CONTENT_TYPES) == set(get_args(AudioFormat))


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("audio_format", [name for name in CONTENT_TYPES if name != "pcm"])
async def test_each_format_is_a_file_players_open(piper: PiperSpeaker, audio_format: AudioFormat, streaming: bool):
    async with aclosing(speak(piper, TEXT, JOE, audio_format, bounds=BOUNDS, streaming=streaming)) as chunks:
        parts = [chunk async for chunk in chunks]
    assert all(parts)
    with av.open(io.BytesIO(b"".join(parts))) as container:
        told = container.duration
    assert told is not None
    assert told / 1e6 == pytest.approx(seconds_of(b"".join(parts)), abs=0.02)
    assert 2.5 < told / 1e6 < 6


@pytest.mark.parametrize("audio_format", [name for name in CONTENT_TYPES if name != "pcm"])
async def test_kokoro_speaks_each_format(kokoro: KokoroSpeaker, audio_format: AudioFormat):
    voice = SpeakOptions("af_heart", early=False)
    async with aclosing(
        speak(kokoro, "Good morning, everyone.", voice, audio_format, bounds=BOUNDS, streaming=True)
    ) as chunks:
        data = b"".join([chunk async for chunk in chunks])
    assert 1 < seconds_of(data) < 3


async def test_the_first_bytes_come_before_the_last_piece_is_spoken(piper: PiperSpeaker):
    async with aclosing(speak(piper, TEXT * 30, JOE, "mp3", bounds=BOUNDS, streaming=True)) as chunks:
        await anext(chunks)
        assert piper.batcher.lanes == 1
    assert piper.batcher.lanes == 0


@pytest.mark.parametrize("rate", [8_000, 48_000])
async def test_pcm_comes_at_the_wished_rate(piper: PiperSpeaker, rate: int):
    async with aclosing(speak(piper, TEXT, JOE, "pcm", rate, bounds=BOUNDS, streaming=True)) as chunks:
        data = b"".join([chunk async for chunk in chunks])
    assert 2.5 < len(data) / 2 / rate < 6


@pytest.mark.parametrize("text", ["", "...", " \n", "😀 👍"])
async def test_nothing_to_say_is_refused_before_anything_begins(piper: PiperSpeaker, text: str):
    with pytest.raises(InvalidRequest, match="nothing to say"):
        speak(piper, text, JOE, "mp3", bounds=BOUNDS, streaming=True)


@pytest.mark.parametrize("text", ["<br>", "![](x)", "<!-- hidden -->"])
async def test_markup_around_nothing_is_refused_before_the_first_byte(piper: PiperSpeaker, text: str):
    with pytest.raises(InvalidRequest):
        async with aclosing(speak(piper, text, JOE, "wav", bounds=BOUNDS, streaming=True)) as chunks:
            await anext(chunks)


async def test_a_voice_it_has_not_is_refused_at_once(piper: PiperSpeaker):
    with pytest.raises(InvalidRequest):
        speak(piper, TEXT, SpeakOptions("nobody"), "mp3", bounds=BOUNDS, streaming=True)


async def test_aborted_requests_leave_nothing_in_the_queue(piper: PiperSpeaker):
    for _ in range(20):
        async with aclosing(speak(piper, TEXT * 20, JOE, "opus", bounds=BOUNDS, streaming=True)) as chunks:
            await anext(chunks)
    assert piper.batcher.lanes == piper.batcher.waiting == 0


async def test_a_text_that_lasts_too_long_with_any_voice_is_refused_before_anything_begins(piper: PiperSpeaker):
    text = "This is one of many sentences. " * 100
    with pytest.raises(RequestTooLarge, match=r"at least 1\d\d s, more than 100 s"):
        speak(piper, text, JOE, "mp3", bounds=Bounds(100, 0), streaming=True)
    slow = SpeakOptions("joe", speed=0.25)
    with pytest.raises(RequestTooLarge):
        speak(piper, text[: len(text) // 4], slow, "mp3", bounds=Bounds(100, 0), streaming=True)


async def test_what_turns_out_too_long_is_struck_where_it_does(piper: PiperSpeaker):
    spoken: list[float] = []
    text = "This is one of many sentences. " * 20  # 480 letters: 24 s at least, and about 35
    bounds = Bounds(25, 0)
    chunks = speak(piper, text, JOE, "wav", bounds=bounds, streaming=False, count_seconds=spoken.append)
    with pytest.raises(RequestTooLarge, match="more than 25 s"):
        await anext(chunks)
    assert 10 < sum(spoken) <= 25
    assert piper.batcher.lanes == 0


async def test_an_answer_that_has_no_room_on_disk_is_refused(piper: PiperSpeaker, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("speech_server.audio.spool.LOOK_EVERY", 10_000)
    with pytest.raises(StorageFull):
        async with aclosing(speak(piper, TEXT, JOE, "flac", bounds=Bounds(600, 1 << 60), streaming=False)) as chunks:
            await anext(chunks)


@pytest.mark.parametrize("audio_format", ["wav", "flac"])
async def test_a_whole_answer_comes_in_pieces_from_a_file_that_is_gone_afterwards(
    piper: PiperSpeaker, audio_format: AudioFormat, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr("speech_server.audio.spool.IN_MEMORY", 10_000)
    monkeypatch.setattr("speech_server.audio.spool.PIECE", 10_000)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    async with aclosing(speak(piper, TEXT, JOE, audio_format, bounds=BOUNDS, streaming=False)) as chunks:
        first = await anext(chunks)
        assert len(open_files(tmp_path)) == 1
        parts = [first, *[chunk async for chunk in chunks]]
    assert max(map(len, parts)) <= 10_000
    assert 2.5 < seconds_of(b"".join(parts)) < 6
    assert open_files(tmp_path) == []


@pytest.mark.parametrize("audio_format", ["wav", "flac"])
async def test_who_leaves_early_leaves_no_file(
    piper: PiperSpeaker, audio_format: AudioFormat, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr("speech_server.audio.spool.IN_MEMORY", 10_000)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    spoken: list[float] = []
    chunks = speak(piper, TEXT * 20, JOE, audio_format, bounds=BOUNDS, streaming=False, count_seconds=spoken.append)
    speaking = asyncio.ensure_future(anext(chunks))
    async with asyncio.timeout(30):
        while len(spoken) < 3:  # noqa: ASYNC110  it is the voice that is waited for
            await asyncio.sleep(0.01)
    speaking.cancel()
    await asyncio.gather(speaking, return_exceptions=True)
    await chunks.aclose()
    assert open_files(tmp_path) == []
    assert piper.batcher.lanes == 0


def open_files(folder: Path) -> list[str]:
    links = (link for link in Path("/proc/self/fd").iterdir() if link.is_symlink())
    return [target for link in links if (target := str(link.resolve())).startswith(str(folder))]
