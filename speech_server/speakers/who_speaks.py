"""Audio in, turns out: who speaks when. What routes, and transcriptions that name their speakers, call."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from speech_server import decoding
from speech_server.domain import RATE, Samples
from speech_server.engines.interfaces import Segmenter, VoiceDetector, VoiceEncoder
from speech_server.models.catalog.info import SEGMENTATION
from speech_server.models.optional import optional_engine
from speech_server.speakers.naming import WhoSpoke
from speech_server.speakers.voices import ExpectedSpeakers, PhraseVoices, SceneVoices, Voices

if TYPE_CHECKING:
    from speech_server.models.loader import Loader

_BLOCK = 10.0  # seconds
SEGMENTER = "pyannote/segmentation-3.0"  # an alias: DEFAULT_SEGMENTATION_MODEL, or Silero


@dataclass(frozen=True, slots=True)
class VoiceEngines:
    """`segmenter` None: voice activity and levels say who may have stopped to speak."""

    encoder: VoiceEncoder
    detector: VoiceDetector
    segmenter: Segmenter | None = None

    def voices(self, expected: ExpectedSpeakers) -> Voices:
        if self.segmenter is None:
            return PhraseVoices(self.encoder, expected)
        return SceneVoices(self.encoder, self.segmenter, expected)


@asynccontextmanager
async def voice_engines(loader: Loader, encoder: str | None = None) -> AsyncIterator[VoiceEngines]:
    """What tells speakers apart, in memory until the block is left. Raises what Loader.use raises."""
    async with AsyncExitStack() as stack:
        loading = loader.voice_encoder(encoder) if encoder else loader.voice_encoder()
        yield VoiceEngines(
            await stack.enter_async_context(loading),
            await stack.enter_async_context(loader.detector()),
            cast("Segmenter | None", await stack.enter_async_context(optional_engine(loader, SEGMENTER, SEGMENTATION))),
        )


async def who_speaks(
    source: Path | BinaryIO,
    engines: VoiceEngines,
    expected: ExpectedSpeakers,
    *,
    max_seconds: float,
    pcm: bool = False,
) -> tuple[WhoSpoke, float]:
    """The turns of a recording and its length in seconds. Raises AudioUnreadable, InvalidRequest, RequestTooLarge."""
    voices = engines.voices(expected)
    try:
        seconds = await listen(source, voices, engines.detector, max_seconds=max_seconds, pcm=pcm)
        return await voices.who_spoke(), seconds
    finally:
        await voices.aclose()


async def listen(
    source: Path | BinaryIO,
    voices: Voices,
    detector: VoiceDetector,
    *,
    max_seconds: float,
    pcm: bool = False,
    seen: Callable[[Samples], None] = lambda _: None,
) -> float:
    """All of a recording to its voices; its length in seconds. `seen` is told every block, on threads."""
    from speech_server.hearing.speakers.listening import listened

    listening = partial(listened, listener=voices.listener(detector.stream(), 0), seen=seen)
    # Short blocks: voices are looked at while the next ones are read.
    puller = decoding.read(source, listening, max_seconds=max_seconds, pcm=pcm, block_seconds=_BLOCK)
    length = 0
    try:
        while (count := await puller.pull()) is not None:
            length += count
            await voices.pass_on()
    finally:
        await puller.close()
    return length / RATE
