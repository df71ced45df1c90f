"""Audio in, turns out: who speaks when. What routes, and transcriptions that name their speakers, call."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from speech_server.audio.pulling import Puller
from speech_server.decoding import decoding_pool, vetting
from speech_server.domain import EVERYBODY, RATE, Count, Embeddings, Likeness, Person, Samples, SpeakerTurn
from speech_server.engines.interfaces import VoiceDetector, VoiceEncoder, VoiceSample
from speech_server.errors import InvalidRequest
from speech_server.hearing.speakers.names import lettered
from speech_server.pools import Pool

if TYPE_CHECKING:
    from speech_server.hearing.spans import VoiceStream
    from speech_server.hearing.speakers.clusters import Groups
    from speech_server.hearing.speakers.phrases import Phrase, VoiceListener
    from speech_server.hearing.speakers.turns import Diarization

_LOT = 16  # windows that are looked at together: half a minute of speech, in one phrase of 30 s at most twice that
_AHEAD = 4  # lots that wait
_BLOCK = 10.0  # seconds
_PAD = 0.03  # seconds on both sides of a turn: its first and last sounds are quieter than what counts as speech
_JOIN = 0.3  # seconds; a shorter pause of one person is no end of their turn

_grouping = Pool("speakers", 1, waiting=1024)


@dataclass(frozen=True, slots=True)
class KnownVoice:
    name: str
    voice: Embeddings  # (size,), of length 1


@dataclass(frozen=True, slots=True)
class ExpectedSpeakers:
    """What is known of who will speak: how many, and some of their voices."""

    count: Count = EVERYBODY
    known: tuple[KnownVoice, ...] = ()


@dataclass(frozen=True, slots=True)
class WhoSpoke:
    """`likeness`: what distances between the people's voices mean."""

    likeness: Likeness
    turns: list[SpeakerTurn] = field(default_factory=list)
    people: list[Person] = field(default_factory=list)


class Voices:
    """Collects what the voices of a recording are like while somebody reads it, and tells who spoke in the end.

    `listener` is fed on threads, block by block; `pass_on` between the blocks, `who_spoke` after the last, on the loop.
    """

    def __init__(self, encoder: VoiceEncoder, expected: ExpectedSpeakers) -> None:
        self._encoder = encoder
        self._expected = expected
        self._heard: list[tuple[Phrase, Samples]] = []
        self._phrases: list[Phrase] = []
        self._embeddings: list[Embeddings] = []
        self._lot: list[VoiceSample] = []
        self._waiting: asyncio.Queue[list[VoiceSample] | None] = asyncio.Queue(_AHEAD)
        self._embedding = asyncio.create_task(self._embed())

    def listener(self, stream: VoiceStream, begin: int) -> VoiceListener:
        """For a section of the recording that begins at this sample."""
        from speech_server.hearing.speakers.phrases import PhraseFinder, VoiceListener

        return VoiceListener(stream, PhraseFinder(self._encoder.window, begin), self._heard)

    async def pass_on(self) -> None:
        heard = self._heard[:]
        self._heard.clear()
        for phrase, samples in heard:
            self._phrases.append(phrase)
            self._lot.append(VoiceSample(samples.copy(), phrase.windows))
            if sum(len(sample.starts) for sample in self._lot) >= _LOT:
                await self._give(self._lot)
                self._lot = []

    async def all_heard(self) -> list[tuple[Phrase, Embeddings]]:
        """Every phrase with the embeddings of its windows."""
        import numpy as np

        await self.pass_on()
        if self._lot:
            await self._give(self._lot)
        await self._give(None)
        await self._embedding
        if not self._phrases:
            return []
        counts = [len(phrase.windows) for phrase in self._phrases]
        own = np.split(np.concatenate(self._embeddings), np.cumsum(counts)[:-1])
        return list(zip(self._phrases, own, strict=True))

    async def who_spoke(self) -> WhoSpoke:
        return await _grouping.run(self._grouped, await self.all_heard())

    async def aclose(self) -> None:
        self._embedding.cancel()
        await asyncio.gather(self._embedding, return_exceptions=True)

    async def _give(self, lot: list[VoiceSample] | None) -> None:
        giving = asyncio.ensure_future(self._waiting.put(lot))
        await asyncio.wait({giving, self._embedding}, return_when=asyncio.FIRST_COMPLETED)
        if not giving.done():  # nobody takes it any more
            giving.cancel()
            self._embedding.result()

    async def _embed(self) -> None:
        async with aclosing(self._encoder.embed(self._lots())) as embedded:
            async for embeddings in embedded:
                self._embeddings.append(embeddings)

    async def _lots(self) -> AsyncIterator[list[VoiceSample]]:
        while (lot := await self._waiting.get()) is not None:
            yield lot

    def _grouped(self, all_heard: list[tuple[Phrase, Embeddings]]) -> WhoSpoke:
        from speech_server.hearing.speakers.turns import Voiced, diarization

        heard = [Voiced(*each, self._encoder.window) for each in all_heard]
        found = diarization(heard, self._encoder.likeness, self._expected.count)
        try:
            self._expected.count.check(len(found.voices))
        except ValueError as error:
            raise InvalidRequest(str(error), param="num_speakers") from None
        names = _names(found.voices, self._expected.known, self._encoder.likeness.apart)
        return WhoSpoke(self._encoder.likeness, _turns(found, names), _people(found.voices, names))


async def who_speaks(
    source: Path | BinaryIO,
    encoder: VoiceEncoder,
    detector: VoiceDetector,
    expected: ExpectedSpeakers,
    *,
    max_seconds: float,
    pcm: bool = False,
) -> tuple[WhoSpoke, float]:
    """The turns of a recording and its length in seconds. Raises AudioUnreadable, InvalidRequest, RequestTooLarge."""
    voices = Voices(encoder, expected)
    try:
        seconds = await listen(source, voices, detector, max_seconds=max_seconds, pcm=pcm)
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
    from speech_server.audio import decode
    from speech_server.audio.budget import Limits
    from speech_server.hearing.speakers.phrases import listened

    stop = threading.Event()
    # Short blocks: voices are looked at while the next ones are read.
    blocks = decode.stream(source, Limits(max_seconds), stop, pcm=pcm, block_seconds=_BLOCK)
    told = listened(blocks, voices.listener(detector.stream(), 0), seen)
    puller = Puller(told, decoding_pool(), stop, None if pcm else vetting(source))
    length = 0
    try:
        while (count := await puller.pull()) is not None:
            length += count
            await voices.pass_on()
    finally:
        await puller.close()
    return length / RATE


def _names(voices: Groups, known: Sequence[KnownVoice], apart: float) -> list[str]:
    """Of those whose voices are known, by what is most alike first; letters for the others, as they first speak."""
    import numpy as np

    names: list[str | None] = [None] * len(voices)
    if known and len(voices):
        distance = 1 - voices.centroids @ np.stack([each.voice for each in known]).T
        while distance.min() < apart:
            who, which = np.unravel_index(distance.argmin(), distance.shape)
            names[who] = known[int(which)].name
            distance[who], distance[:, which] = np.inf, np.inf
    return lettered(names, {each.name for each in known})


def _turns(found: Diarization, names: Sequence[str]) -> list[SpeakerTurn]:
    turns: list[SpeakerTurn] = []
    for passage in found.passages:
        start, end = max(passage.start / RATE - _PAD, 0.0), passage.end / RATE + _PAD
        speaker = names[passage.person]
        if turns:
            before = turns[-1]
            if before.speaker == speaker and start - before.end < _JOIN:
                turns[-1] = SpeakerTurn(before.start, end, speaker)
                continue
            if start < before.end:
                start = (start + before.end) / 2
                turns[-1] = SpeakerTurn(before.start, start, before.speaker)
        turns.append(SpeakerTurn(start, end, speaker))
    return turns


def _people(voices: Groups, names: Sequence[str]) -> list[Person]:
    means = voices.means if len(voices) else ()
    return [
        Person(name, float(seconds), mean) for name, seconds, mean in zip(names, voices.seconds, means, strict=True)
    ]
