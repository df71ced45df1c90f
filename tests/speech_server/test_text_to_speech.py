from __future__ import annotations

import io
from contextlib import aclosing
from typing import TYPE_CHECKING, get_args

import av
import pytest

from speech_server.audio.encode import AudioFormat
from speech_server.engines.interfaces import SpeakOptions
from speech_server.errors import InvalidRequest
from speech_server.text_to_speech import CONTENT_TYPES, speak

if TYPE_CHECKING:
    from speech_server.engines.kokoro import KokoroSpeaker
    from speech_server.engines.piper import PiperSpeaker

pytestmark = pytest.mark.anyio

TEXT = "A short sentence to be heard. And a second one, just as short."
JOE = SpeakOptions("joe")


def seconds_of(data: bytes) -> float:
    with av.open(io.BytesIO(data)) as container:
        rate = container.streams.audio[0].rate
        return sum(frame.samples for frame in container.decode(audio=0)) / rate


def test_every_format_has_a_content_type():
    assert set(CONTENT_TYPES) == set(get_args(AudioFormat))


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("audio_format", [name for name in CONTENT_TYPES if name != "pcm"])
async def test_each_format_is_a_file_players_open(piper: PiperSpeaker, audio_format: AudioFormat, streaming: bool):
    async with aclosing(speak(piper, TEXT, JOE, audio_format, streaming=streaming)) as chunks:
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
    async with aclosing(speak(kokoro, "Good morning, everyone.", voice, audio_format, streaming=True)) as chunks:
        data = b"".join([chunk async for chunk in chunks])
    assert 1 < seconds_of(data) < 3


async def test_the_first_bytes_come_before_the_last_piece_is_spoken(piper: PiperSpeaker):
    async with aclosing(speak(piper, TEXT * 30, JOE, "mp3", streaming=True)) as chunks:
        await anext(chunks)
        assert piper.batcher.lanes == 1
    assert piper.batcher.lanes == 0


@pytest.mark.parametrize("rate", [8_000, 48_000])
async def test_pcm_comes_at_the_wished_rate(piper: PiperSpeaker, rate: int):
    async with aclosing(speak(piper, TEXT, JOE, "pcm", rate, streaming=True)) as chunks:
        data = b"".join([chunk async for chunk in chunks])
    assert 2.5 < len(data) / 2 / rate < 6


@pytest.mark.parametrize("text", ["", "...", " \n", "😀 👍"])
async def test_nothing_to_say_is_refused_before_anything_begins(piper: PiperSpeaker, text: str):
    with pytest.raises(InvalidRequest, match="nothing to say"):
        speak(piper, text, JOE, "mp3", streaming=True)


@pytest.mark.parametrize("text", ["<br>", "![](x)", "<!-- hidden -->"])
async def test_markup_around_nothing_is_refused_before_the_first_byte(piper: PiperSpeaker, text: str):
    with pytest.raises(InvalidRequest):
        async with aclosing(speak(piper, text, JOE, "wav", streaming=True)) as chunks:
            await anext(chunks)


async def test_a_voice_it_has_not_is_refused_at_once(piper: PiperSpeaker):
    with pytest.raises(InvalidRequest):
        speak(piper, TEXT, SpeakOptions("nobody"), "mp3", streaming=True)


async def test_aborted_requests_leave_nothing_in_the_queue(piper: PiperSpeaker):
    for _ in range(20):
        async with aclosing(speak(piper, TEXT * 20, JOE, "opus", streaming=True)) as chunks:
            await anext(chunks)
    assert piper.batcher.lanes == piper.batcher.waiting == 0
