"""Text in, encoded audio out, piece by piece. What routes, chat and realtime call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING

from speech_server.engines.interfaces import Speaker, SpeakOptions
from speech_server.errors import InvalidRequest
from speech_server.text.sentences import speakable

if TYPE_CHECKING:
    from speech_server.audio.encode import AudioFormat, Encoder

CONTENT_TYPES: Mapping[AudioFormat, str] = {
    "mp3": "audio/mpeg",
    "wav": "audio/wav",
    "flac": "audio/flac",
    "opus": "audio/opus",
    "aac": "audio/aac",
    "pcm": "audio/pcm",
}


def speak(
    speaker: Speaker,
    text: str,
    options: SpeakOptions,
    response_format: AudioFormat,
    sample_rate: int | None = None,
    *,
    streaming: bool,
    count_seconds: Callable[[float], None] | None = None,
) -> AsyncGenerator[bytes, None]:
    """The bytes of one audio file, as they are ready; `sample_rate` None means the model's own.

    `count_seconds` is called with the length of every piece that was spoken.

    Raises InvalidRequest at once, or on the first step; never after the first bytes. Closing the generator stops the
    synthesis.
    """
    speaker.check(options)
    if not speakable(text):
        raise InvalidRequest("input has nothing to say: it needs at least one letter or digit", param="input")
    return _encoded(speaker, text, options, response_format, sample_rate, streaming, count_seconds)


async def _encoded(
    speaker: Speaker,
    text: str,
    options: SpeakOptions,
    response_format: AudioFormat,
    sample_rate: int | None,
    streaming: bool,
    count_seconds: Callable[[float], None] | None,
) -> AsyncGenerator[bytes, None]:
    from speech_server.audio.encode import Encoder  # numpy: not while the server starts

    encoder: Encoder | None = None
    async with aclosing(speaker.speak(text, options)) as pieces:
        async for samples in pieces:
            if count_seconds:
                count_seconds(len(samples) / speaker.sample_rate)
            if encoder is None:
                encoder = await asyncio.to_thread(
                    Encoder, response_format, speaker.sample_rate, sample_rate, streaming=streaming
                )
            if data := await asyncio.to_thread(encoder.encode, samples):
                yield data
    if encoder is not None and (data := await asyncio.to_thread(encoder.finish)):
        yield data
