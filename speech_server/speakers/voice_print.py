"""Audio in, one voice out: what the person in a recording sounds like."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from speech_server.audio.pulling import Puller
from speech_server.decoding import decoding_pool, vetting
from speech_server.domain import RATE, Embeddings, Samples
from speech_server.engines.interfaces import VoiceDetector, VoiceEncoder, VoiceSample

if TYPE_CHECKING:
    from speech_server.hearing.speakers.phrases import Phrase


async def embedding_of(
    source: Path | BinaryIO,
    encoder: VoiceEncoder,
    detector: VoiceDetector,
    *,
    max_seconds: float,
    pcm: bool = False,
) -> tuple[Embeddings, float, float]:
    """(size,), of length 1; the seconds of speech and of all sound, which is held in memory.

    Where nobody speaks it is that of all the sound. Raises AudioUnreadable, InvalidRequest, RequestTooLarge, Busy.
    """
    import numpy as np

    from speech_server.hearing.speakers.phrases import PhraseFinder, VoiceListener, listened, starts_in

    heard: list[tuple[Phrase, Samples]] = []
    blocks: list[Samples] = []
    listener = VoiceListener(detector.stream(), PhraseFinder(encoder.window), heard)
    stop = threading.Event()
    puller = Puller(
        listened(_kept(source, blocks, stop, max_seconds, pcm=pcm), listener),
        decoding_pool(),
        stop,
        None if pcm else vetting(source),
    )
    try:
        while await puller.pull() is not None:
            pass
    finally:
        await puller.close()
    whole = np.concatenate(blocks)
    lot = [VoiceSample(sound, phrase.windows) for phrase, sound in heard]
    total = np.zeros(1, np.float32)
    async with aclosing(
        encoder.embed(_one(lot or [VoiceSample(whole, starts_in(len(whole), encoder.window))]))
    ) as all_:
        async for embeddings in all_:
            total = embeddings.sum(axis=0)
    return total / np.linalg.norm(total), sum(len(sound) for _, sound in heard) / RATE, len(whole) / RATE


def _kept(
    source: Path | BinaryIO, blocks: list[Samples], stop: threading.Event, max_seconds: float, *, pcm: bool
) -> Iterator[Samples]:
    from speech_server.audio import decode
    from speech_server.audio.budget import Limits

    for block in decode.stream(source, Limits(max_seconds), stop, pcm=pcm):
        blocks.append(block)
        yield block


async def _one(lot: Sequence[VoiceSample]) -> AsyncIterator[Sequence[VoiceSample]]:
    yield lot
