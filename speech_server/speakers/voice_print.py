"""Audio in, one voice out: what the person in a recording sounds like."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import BinaryIO

from speech_server.domain import RATE, Embeddings, Samples
from speech_server.engines.interfaces import VoiceDetector, VoiceEncoder
from speech_server.speakers.voices import ExpectedSpeakers, PhraseVoices
from speech_server.speakers.who_speaks import listen

_KEPT = 30 * RATE  # samples of a beginning, for where nobody speaks


async def embedding_of(
    source: Path | BinaryIO,
    encoder: VoiceEncoder,
    detector: VoiceDetector,
    *,
    max_seconds: float,
    pcm: bool = False,
) -> tuple[Embeddings, float, float]:
    """(size,), of length 1; the seconds of speech and of all sound.

    Where nobody speaks it is that of the first half minute. Raises AudioUnreadable, InvalidRequest, RequestTooLarge and
    Busy.
    """
    import numpy as np

    voices = PhraseVoices(encoder, ExpectedSpeakers())
    beginning: list[Samples] = []

    def keep(block: Samples) -> None:
        if sum(map(len, beginning)) < _KEPT:
            beginning.append(block)

    try:
        seconds = await listen(source, voices, detector, max_seconds=max_seconds, pcm=pcm, seen=keep)
        heard = await voices.all_heard()
    finally:
        await voices.aclose()
    each = [own for _, own in heard] or [await _whole(encoder, np.concatenate(beginning))]
    total = np.concatenate(each).sum(axis=0)
    spoken = sum(phrase.end - phrase.start for phrase, _ in heard)
    return total / np.linalg.norm(total), spoken / RATE, seconds


async def _whole(encoder: VoiceEncoder, sound: Samples) -> Embeddings:
    import numpy as np

    async def lot() -> AsyncIterator[Sequence[Samples]]:
        yield np.array_split(sound, -(-len(sound) // encoder.window))

    async with aclosing(encoder.embed(lot())) as embedded:
        return np.concatenate([embeddings async for embeddings in embedded])
