"""Carries out the session's transcriptions on the speech-to-text engine."""

from __future__ import annotations

import io
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final, cast

import numpy as np

from speech_server.audio.resample import Resampler
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
from speech_server.realtime.ear import decode, decode_base64
from speech_server.realtime.outputs import Transcribe, TranscribeUpload
from speech_server.realtime.threads import in_ear_thread
from speech_server.speech_to_text import transcribe

if TYPE_CHECKING:
    from speech_server.models.loader import Loader

STT: Final = "automatic-speech-recognition"
VAD: Final = "voice-activity-detection"
DETECTOR = "silero_vad"
# At once, in all sessions: a guess that takes a core from somebody's final text is not worth it.
MOST_GUESSES = max(1, (os.cpu_count() or 1) // 2)


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


async def carry_out(work: Transcribe | TranscribeUpload, loader: Loader) -> tuple[str, float]:
    """The text and the seconds of audio it is of. Raises SpeechError, and ProtocolError for a bad upload.

    A guess raises Busy when its time is better spent on others.
    """
    async with loader.use(work.settings.model, STT) as engine:
        transcriber = cast(Transcriber, engine)
        if isinstance(work, Transcribe):
            with _load.counted(final=work.final):
                text = await _transcribe_piece(work.samples, transcriber, _options(work.settings, final=work.final))
            return text, len(work.samples) / RATE
        samples = await in_ear_thread(partial(_decode_upload, work))
        async with loader.use(DETECTOR, VAD) as detector:
            text = await _transcribe_long(
                samples, transcriber, cast(VoiceDetector, detector), _options(work.settings, final=True)
            )
        return text.strip(), len(samples) / RATE


def _options(settings: Transcription, *, final: bool) -> TranscribeOptions:
    """The final text gets the decoder's whole care; a guess is worth one quick pass."""
    options = TranscribeOptions(
        language=settings.language,
        prompt=settings.prompt,
        hotwords=", ".join(settings.keywords or ()) or None,
        without_timestamps=True,
    )
    return options if final else replace(options, beam_size=1, temperatures=(0.0,))


async def _transcribe_piece(samples: Samples, transcriber: Transcriber, options: TranscribeOptions) -> str:
    """Of one piece, at most 30 s: straight to the engine."""

    async def one() -> AsyncIterator[SpeechChunk]:
        yield SpeechChunk(samples, 0.0)

    texts = []
    transcripts = transcriber.transcribe(one(), options)
    async for transcript in transcripts:
        texts += [segment.text for segment in transcript.segments]
    return "".join(texts)


async def _transcribe_long(
    samples: Samples, transcriber: Transcriber, detector: VoiceDetector, options: TranscribeOptions
) -> str:
    pcm = io.BytesIO((samples * 32767).clip(-32768, 32767).astype("<i2").tobytes())
    async with aclosing(transcribe(pcm, transcriber, detector, options, VadOptions(), pcm=True)) as transcription:
        return "".join([segment.text async for segment in transcription])


def _decode_upload(work: TranscribeUpload) -> Samples:
    samples, _ = decode(decode_base64(work.audio), work.format)
    resampler = Resampler(work.format.rate, RATE)
    return np.concatenate((resampler.feed(samples), resampler.finish()))
