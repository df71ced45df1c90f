"""Text in, encoded audio out, piece by piece. What routes, chat and realtime call."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from speech_server.domain import Samples
from speech_server.engines.cores import core_count
from speech_server.engines.interfaces import Speaker, SpeakOptions
from speech_server.errors import InvalidRequest, RequestTooLarge
from speech_server.pools import Pool
from speech_server.settings import Settings
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


# Encoding and what text needs before it is spoken: short calls, one of each request at a time.
_encoding = Pool("encoding", core_count() + 1, waiting=1024)

# Letters and digits a second that no voice says at speed 1: five of Kokoro's and Piper's Joe read English at 11.4 to
# 14.0, pauses included. What lasts too long at this pace lasts too long with any voice.
FASTEST = 20.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one answer may take: seconds of sound, and bytes of disk that stay free while it waits to be whole."""

    seconds: float
    keep_free: int

    @classmethod
    def of(cls, settings: Settings) -> Bounds:
        return cls(settings.max_speech_seconds, settings.min_free_disk_mb * 1_000_000)

    def check(self, seconds: float, about: str) -> None:
        if seconds > self.seconds:
            raise RequestTooLarge(
                f"the speech would last {about}more than {self.seconds:g} s, the longest answer (MAX_SPEECH_SECONDS): "
                "send the text in parts",
                param="input",
            )


def speak(
    speaker: Speaker,
    text: str,
    options: SpeakOptions,
    response_format: AudioFormat,
    sample_rate: int | None = None,
    *,
    bounds: Bounds,
    streaming: bool,
    count_seconds: Callable[[float], None] | None = None,
) -> AsyncGenerator[bytes, None]:
    """The bytes of one audio file, as they are ready; `sample_rate` None means the model's own.

    `count_seconds` is called with the length of every piece that was spoken.

    Raises InvalidRequest at once, or on the first step; RequestTooLarge for a longer sound than `bounds` at once
    where the text's length tells, else when that much is spoken; StorageFull. Closing the generator stops the
    synthesis.
    """
    speaker.check(options)
    if not speakable(text):
        raise InvalidRequest("input has nothing to say: it needs at least one letter or digit", param="input")
    least = sum(map(str.isalnum, text)) / FASTEST / options.speed
    bounds.check(least, f"at least {least:.0f} s, ")

    from speech_server.audio.encode import Encoder  # numpy: not while the server starts

    opening = partial(
        Encoder, response_format, speaker.sample_rate, sample_rate, streaming=streaming, keep_free=bounds.keep_free
    )
    return _encoded(speaker.speak(text, options), opening, speaker.sample_rate, bounds, count_seconds)


async def _encoded(
    spoken: AsyncGenerator[Samples, None],
    opening: Callable[[], Encoder],
    rate: int,
    bounds: Bounds,
    count_seconds: Callable[[float], None] | None,
) -> AsyncGenerator[bytes, None]:
    encoder: Encoder | None = None
    seconds = 0.0
    try:
        async with aclosing(spoken) as pieces:
            async for samples in pieces:
                seconds += len(samples) / rate
                bounds.check(seconds, "")
                if count_seconds:
                    count_seconds(len(samples) / rate)
                if encoder is None:
                    encoder = await _encoding.run(opening)
                if data := await _encoding.run(encoder.encode, samples):
                    yield data
        if encoder is not None:
            ending = partial(next, encoder.end(), None)
            while (data := await _encoding.run(ending)) is not None:
                if data:
                    yield data
    finally:
        if encoder is not None:
            encoder.close()
