"""Carries out the session's replies: the language model's words, spoken sentence by sentence as they arrive."""

from __future__ import annotations

import asyncio
import base64
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from speech_server.audio import g711
from speech_server.audio.resample import Resampler
from speech_server.domain import Samples
from speech_server.engines.interfaces import Speaker, SpeakOptions
from speech_server.language_model import LanguageModel
from speech_server.realtime.live.ear import ear_threads
from speech_server.realtime.protocol.config import AudioFormat, AudioOutput
from speech_server.realtime.protocol.outputs import Generate, Pronounce
from speech_server.spoken_answer import Say, read_aloud

if TYPE_CHECKING:
    from speech_server.models.loader import Loader

CHUNK_SECONDS = 0.2  # of audio per event
AHEAD = 4  # pieces of audio made before they are due


# Base64 audio, its sentence, and which milliseconds of all audio that sentence so far takes.
DeliverAudio = Callable[[str, str, float, float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Deliver:
    """Where a reply goes; each waits while the client is slow. `call`: index, call id, name, arguments."""

    text: Callable[[str], Awaitable[None]]
    call: Callable[[int, str | None, str | None, str], Awaitable[None]]
    audio: DeliverAudio


class End(NamedTuple):
    finish_reason: str | None
    usage: dict[str, Any] | None


class Sound(NamedTuple):
    sentence: str
    begins: bool  # the first audio of its sentence
    data: bytes
    seconds: float


async def answer(work: Generate, model: LanguageModel, loader: Loader, deliver: Deliver, *, lead: float) -> End:
    """Raises SpeechError. Closing or cancelling it stops the language model and the synthesis."""
    if work.voice is None:
        return await _read(work, model, deliver, _unheard)
    return await read_aloud(
        partial(_read, work, model, deliver), partial(_speak, work.voice, loader, deliver.audio, lead)
    )


async def pronounce(work: Pronounce, loader: Loader, deliver: Callable[[str], Awaitable[None]]) -> None:
    """Raises SpeechError. All of it as soon as it is made: nobody interrupts an interpreter."""

    async def read(say: Say) -> None:
        await say(work.text)

    async def audio(data: str, _sentence: str, _start_ms: float, _end_ms: float) -> None:
        await deliver(data)

    await read_aloud(read, partial(_speak, work.voice, loader, audio, math.inf))


async def _unheard(_text: str) -> None:
    return


async def _read(work: Generate, model: LanguageModel, deliver: Deliver, say: Say) -> End:
    finish_reason = usage = None
    async with aclosing(model.stream({**work.body, "stream_options": {"include_usage": True}})) as chunks:
        async for chunk in chunks:
            usage = chunk.get("usage") or usage
            for choice in chunk.get("choices") or ():
                finish_reason = choice.get("finish_reason") or finish_reason
                delta = choice.get("delta") or {}
                for call in delta.get("tool_calls") or ():
                    function = call.get("function") or {}
                    await deliver.call(
                        call.get("index", 0), call.get("id"), function.get("name"), function.get("arguments") or ""
                    )
                if text := delta.get("content"):
                    await deliver.text(text)
                    await say(text)
    return End(finish_reason, _usage(usage))


def _usage(usage: dict[str, Any] | None) -> dict[str, Any] | None:
    """The language model's count of its tokens, as a response's usage; audio has none here."""
    if usage is None:
        return None
    read, written = usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return {
        "total_tokens": read + written,
        "input_tokens": read,
        "output_tokens": written,
        "input_token_details": {"text_tokens": read, "audio_tokens": 0, "cached_tokens": cached},
        "output_token_details": {"text_tokens": written, "audio_tokens": 0},
    }


async def _speak(
    voice: AudioOutput, loader: Loader, deliver: DeliverAudio, lead: float, sentences: AsyncIterator[str]
) -> None:
    sounds: asyncio.Queue[Sound | None] = asyncio.Queue(AHEAD)
    async with loader.speaker(voice.model) as speaker, asyncio.TaskGroup() as tasks:
        tasks.create_task(_synthesize(speaker, voice, sentences, sounds))
        await _send(sounds, deliver, Pace(lead))


async def _synthesize(
    speaker: Speaker, voice: AudioOutput, sentences: AsyncIterator[str], sounds: asyncio.Queue[Sound | None]
) -> None:
    resampler = Resampler(speaker.sample_rate, voice.format.rate)

    async def put(sentence: str, begins: bool, samples: Samples | None) -> None:
        data = await ear_threads.run(_encode, resampler, samples, voice.format)
        await sounds.put(Sound(sentence, begins, data, _seconds(data, voice.format)))

    last = ""
    async for sentence in sentences:
        begins = True
        async for samples in speaker.speak(sentence, SpeakOptions(voice.voice, voice.speed, early=not last)):
            await put(sentence, begins, samples)
            begins, last = False, sentence
    if last:
        await put(last, False, None)
    await sounds.put(None)


def _seconds(data: bytes, audio_format: AudioFormat) -> float:
    return len(data) / audio_format.rate / (2 if audio_format.type == "audio/pcm" else 1)


def _encode(resampler: Resampler, samples: Samples | None, audio_format: AudioFormat) -> bytes:
    """None: the end, what the resampler still holds."""
    resampled = resampler.finish() if samples is None else resampler.feed(samples)
    pcm = (resampled * 32767).clip(-32768, 32767).astype(np.int16)
    return pcm.tobytes() if audio_format.type == "audio/pcm" else g711.encode(pcm, audio_format.type)


async def _send(sounds: asyncio.Queue[Sound | None], deliver: DeliverAudio, pace: Pace) -> None:
    clock = asyncio.get_running_loop().time
    start_ms = sent_ms = 0.0
    while (sound := await sounds.get()) is not None:
        if sound.begins:
            start_ms = sent_ms
        pieces = max(1, round(sound.seconds / CHUNK_SECONDS))
        size = -(-len(sound.data) // pieces // 2) * 2
        for at in range(0, len(sound.data), size or 1):
            piece = sound.data[at : at + size]
            seconds = sound.seconds * len(piece) / len(sound.data)
            await asyncio.sleep(pace.wait(seconds, clock()))
            sent_ms += seconds * 1000
            await deliver(base64.b64encode(piece).decode(), sound.sentence, start_ms, sent_ms)


@dataclass
class Pace:
    """Audio sent too early cannot be taken back when the person interrupts. `lead` seconds of it may be under way."""

    _lead: float
    _played_until: float | None = None

    def wait(self, seconds: float, now: float) -> float:
        """How long to wait at `now` before `seconds` more of audio are sent; counts them as sent."""
        # After a gap in the supply the player stands still: what comes then is played from now on.
        begins = now if self._played_until is None else max(self._played_until, now)
        self._played_until = begins + seconds
        return max(0.0, begins - self._lead - now)
