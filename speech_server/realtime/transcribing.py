"""Carries out the session's transcriptions on the speech-to-text engine."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final, cast

from speech_server.audio.encode import pcm16
from speech_server.audio.resample import Resampler
from speech_server.engines.cores import core_count
from speech_server.engines.interfaces import (
    RATE,
    Samples,
    SpeechChunk,
    TranscribeOptions,
    Transcriber,
    VadOptions,
    VoiceDetector,
)
from speech_server.errors import Busy
from speech_server.realtime.config import Transcription
from speech_server.realtime.ear import decode, decode_base64, ear_threads
from speech_server.realtime.events import ProtocolError
from speech_server.realtime.outputs import Transcribe, TranscribeUpload
from speech_server.speech_to_text import bounded, transcribe

if TYPE_CHECKING:
    from speech_server.models.loader import Loader

STT: Final = "automatic-speech-recognition"
VAD: Final = "voice-activity-detection"
DETECTOR = "silero_vad"
BLOCK_SECONDS = 30
# At once, in all sessions: a guess that takes a core from somebody's final text is not worth it.
MOST_GUESSES = max(1, core_count() // 2)


class Load:
    """How many transcriptions of live turns are under way in this process."""

    def __init__(self) -> None:
        self.finals = self.guesses = 0

    @contextmanager
    def counted(self, *, final: bool) -> Iterator[None]:
        """Guesses get what finals leave: raises Busy for one too many."""
        if not final and (self.finals or self.guesses >= MOST_GUESSES):
            raise Busy("the engine has more important things to do than to guess")
        self.finals += final
        self.guesses += not final
        try:
            yield
        finally:
            self.finals -= final
            self.guesses -= not final


_load = Load()


async def carry_out(work: Transcribe | TranscribeUpload, loader: Loader, *, max_seconds: float) -> tuple[str, float]:
    """The text and the seconds of audio it is of. Raises SpeechError, and ProtocolError for a bad upload, or one of
    more than `max_seconds`.

    A guess raises Busy when its time is better spent on others.
    """
    async with loader.use(work.settings.model, STT) as engine:
        transcriber = cast(Transcriber, engine)
        if isinstance(work, Transcribe):
            with _load.counted(final=work.final):
                text = await _transcribe_piece(work.samples, transcriber, _options(work.settings, final=work.final))
            return text, len(work.samples) / RATE
        pcm = await ear_threads.run(_decode_upload, work, max_seconds)
        async with loader.use(DETECTOR, VAD) as detector:
            options = _options(work.settings, final=True)
            transcription = transcribe(
                io.BytesIO(pcm), transcriber, cast(VoiceDetector, detector), options, VadOptions(),
                max_seconds=max_seconds, pcm=True,
            )  # fmt: skip
            async with aclosing(transcription):
                text = "".join([segment.text async for segment in transcription])
        return text.strip(), len(pcm) / 2 / RATE


def _options(settings: Transcription, *, final: bool) -> TranscribeOptions:
    """The final text gets the decoder's whole care; a guess is worth one quick pass."""
    options = TranscribeOptions(
        language=settings.language,
        prompt=settings.prompt,
        hotwords=", ".join(settings.keywords or ()) or None,
        without_timestamps=True,
    )
    return bounded(options if final else replace(options, beam_size=1, temperatures=(0.0,)))


async def _transcribe_piece(samples: Samples, transcriber: Transcriber, options: TranscribeOptions) -> str:
    """Of one piece, at most 30 s: straight to the engine."""

    async def one() -> AsyncIterator[SpeechChunk]:
        yield SpeechChunk(samples, 0.0)

    texts = []
    transcripts = transcriber.transcribe(one(), options)
    async for transcript in transcripts:
        texts += [segment.text for segment in transcript.segments]
    return "".join(texts)


def _decode_upload(work: TranscribeUpload, max_seconds: float) -> bytearray:
    """As raw PCM for the transcriber, block by block: samples in memory take twice its size, and eight times the
    upload's where that is G.711."""
    data = b"".join(map(decode_base64, work.audio))
    rate = work.format.rate
    block = BLOCK_SECONDS * rate * (2 if work.format.type == "audio/pcm" else 1)
    if len(data) > max_seconds * block / BLOCK_SECONDS:
        raise ProtocolError(
            f"The audio is longer than {max_seconds:g} s: send it in parts", code="too_large", param="item"
        )
    resampler, pcm = Resampler(rate, RATE), bytearray()
    for at in range(0, len(data), block):
        samples, _ = decode(data[at : at + block], work.format)
        pcm += pcm16(resampler.feed(samples))
    return pcm + pcm16(resampler.finish())
