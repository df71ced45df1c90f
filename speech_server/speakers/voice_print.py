"""Audio in, one voice out: what the person in a recording sounds like."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import BinaryIO

from speech_server.audio.pulling import Puller
from speech_server.decoding import decoding_pool, vetting
from speech_server.domain import RATE, Embeddings, Samples
from speech_server.engines.interfaces import VoiceDetector, VoiceEncoder, VoiceSample
from speech_server.speakers.who_speaks import ExpectedSpeakers, Voices

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

    from speech_server.audio import decode
    from speech_server.audio.budget import Limits
    from speech_server.hearing.speakers.phrases import listened

    voices, stop, beginning = Voices(encoder, ExpectedSpeakers()), threading.Event(), _Beginning()
    blocks = decode.stream(source, Limits(max_seconds), stop, pcm=pcm, block_seconds=10.0)
    listener = voices.listener(detector.stream(), 0)
    puller = Puller(listened(beginning.kept(blocks), listener), decoding_pool(), stop, None if pcm else vetting(source))
    length = 0
    try:
        while (count := await puller.pull()) is not None:
            length += count
            await voices.pass_on()
        heard = await voices.all_heard()
    finally:
        await puller.close()
        await voices.aclose()
    each = [own for _, own in heard] or [await _whole(encoder, np.concatenate(beginning.blocks))]
    total = np.concatenate(each).sum(axis=0)
    spoken = sum(phrase.end - phrase.start for phrase, _ in heard)
    return total / np.linalg.norm(total), spoken / RATE, length / RATE


class _Beginning:
    def __init__(self) -> None:
        self.blocks: list[Samples] = []
        self._count = 0

    def kept(self, blocks: Iterator[Samples]) -> Iterator[Samples]:
        for block in blocks:
            if self._count < _KEPT:
                self._count += len(block)
                self.blocks.append(block)
            yield block


async def _whole(encoder: VoiceEncoder, sound: Samples) -> Embeddings:
    import numpy as np

    from speech_server.hearing.speakers.phrases import starts_in

    async def lot() -> AsyncIterator[Sequence[VoiceSample]]:
        yield [VoiceSample(sound, starts_in(len(sound), encoder.window))]

    async with aclosing(encoder.embed(lot())) as embedded:
        return np.concatenate([embeddings async for embeddings in embedded])
