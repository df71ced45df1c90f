"""The voices of a recording, collected while somebody reads it, and who spoke in the end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from speech_server.domain import EVERYBODY, Count, Embeddings, Person, Samples
from speech_server.engines.interfaces import Segmenter, VoiceEncoder
from speech_server.errors import InvalidRequest
from speech_server.pools import Pool
from speech_server.speakers.embedding import Belt, Embedding
from speech_server.speakers.naming import KnownVoice, WhoSpoke, who_spoke

if TYPE_CHECKING:
    from speech_server.hearing.spans import VoiceStream
    from speech_server.hearing.speakers.clusters import Groups
    from speech_server.hearing.speakers.listening import Finder, VoiceListener
    from speech_server.hearing.speakers.phrases import Phrase
    from speech_server.hearing.speakers.scenes import Played, Scene
    from speech_server.hearing.speakers.turns import Diarization

_grouping = Pool("speakers", 1, waiting=1024)


@dataclass(frozen=True, slots=True)
class ExpectedSpeakers:
    """What is known of who will speak: how many, some of their voices, and who was `met` in earlier parts of what is
    one recording."""

    count: Count = EVERYBODY
    known: tuple[KnownVoice, ...] = ()
    met: tuple[Person, ...] = ()


class Voices(ABC):
    """`listener` is fed on threads, block by block; `pass_on` between the blocks, `who_spoke` after the last, on the
    loop."""

    def __init__(self, encoder: VoiceEncoder, expected: ExpectedSpeakers) -> None:
        self._encoder = encoder
        self._expected = expected
        self._heard: list[tuple[Any, Samples]] = []
        self._embedding = Embedding(encoder)

    def listener(self, stream: VoiceStream, begin: int) -> VoiceListener:
        """For a section of the recording that begins at this sample."""
        from speech_server.hearing.speakers.listening import VoiceListener

        return VoiceListener(stream, self._finder(begin), self._heard)

    async def pass_on(self) -> None:
        heard = self._heard[:]
        self._heard.clear()
        for found, samples in heard:
            await self._take(found, samples)

    async def who_spoke(self) -> WhoSpoke:
        await self.pass_on()
        return await _grouping.run(self._named, await self._all())

    async def aclose(self) -> None:
        await self._embedding.aclose()

    @abstractmethod
    def _finder(self, begin: int) -> Finder: ...

    @abstractmethod
    async def _take(self, found: Any, samples: Samples) -> None:
        """What the finder gave."""

    async def _all(self) -> list[Embeddings]:
        return await self._embedding.all()

    @abstractmethod
    def _told_apart(self, embeddings: list[Embeddings], count: Count) -> Diarization:
        """Blocking."""

    def _met(self) -> Groups | None:
        import numpy as np

        from speech_server.hearing.speakers.clusters import Groups

        if not self._expected.met:
            return None
        seconds = np.array([person.seconds for person in self._expected.met], np.float32)
        return Groups(np.stack([person.voice for person in self._expected.met]) * seconds[:, None], seconds)

    def _named(self, embeddings: list[Embeddings]) -> WhoSpoke:
        found = self._told_apart(embeddings, self._expected.count)
        try:
            self._expected.count.check(len(found.voices))
        except ValueError as error:
            raise InvalidRequest(str(error), param="num_speakers") from None
        return who_spoke(found, self._expected.known, self._encoder.likeness, self._expected.met)


class PhraseVoices(Voices):
    """What is said without a pause is looked at part by part; one speaks at a time."""

    def __init__(self, encoder: VoiceEncoder, expected: ExpectedSpeakers) -> None:
        super().__init__(encoder, expected)
        self._phrases: list[Phrase] = []

    async def all_heard(self) -> list[tuple[Phrase, Embeddings]]:
        """Every phrase with the embeddings of its parts."""
        await self.pass_on()
        return list(zip(self._phrases, await self._all(), strict=True))

    def _finder(self, begin: int) -> Finder:
        from speech_server.hearing.speakers.phrases import PhraseFinder

        return PhraseFinder(self._encoder.window, begin)

    async def _take(self, found: Phrase, samples: Samples) -> None:
        self._phrases.append(found)
        import numpy as np

        await self._embedding.give(np.split(samples.copy(), found.cuts[1:-1]))

    def _told_apart(self, embeddings: list[Embeddings], count: Count) -> Diarization:
        from speech_server.hearing.speakers.turns import Voiced, diarization

        heard = [Voiced(*each) for each in zip(self._phrases, embeddings, strict=True)]
        return diarization(heard, self._encoder.likeness, count, self._met())


class SceneVoices(Voices):
    """A segmentation model says of windows who speaks in them, also at once."""

    def __init__(self, encoder: VoiceEncoder, segmenter: Segmenter, expected: ExpectedSpeakers) -> None:
        super().__init__(encoder, expected)
        self._segmenter = segmenter
        self._under_way: deque[tuple[Scene, Samples]] = deque()
        self._played: list[Played] = []
        self._windows = Belt(self._segment)

    async def aclose(self) -> None:
        await self._windows.aclose()
        await super().aclose()

    def _finder(self, begin: int) -> Finder:
        from speech_server.hearing.speakers.scenes import SceneFinder

        return SceneFinder(self._segmenter.window, begin)

    async def _take(self, found: Scene, samples: Samples) -> None:
        self._under_way.append((found, samples))
        await self._windows.give(samples)

    async def _all(self) -> list[Embeddings]:
        await self._windows.end()
        return await super()._all()

    async def _segment(self, windows: AsyncIterator[Samples]) -> None:
        import numpy as np

        from speech_server.hearing.speakers.scenes import Played, edges_of

        segmenter = self._segmenter
        async with aclosing(segmenter.segment(windows)) as activities:
            async for activity in activities:
                scene, samples = self._under_way.popleft()
                edges = edges_of(scene, len(samples), len(activity), segmenter.step, segmenter.middle)
                played = Played(scene, activity, edges)
                self._played.append(played)
                for column in played.columns:
                    sounds = played.sounds_of(column, samples)
                    window = self._encoder.window
                    parts = [part for sound in sounds for part in np.array_split(sound, -(-len(sound) // window))]
                    await self._embedding.give(parts)

    def _told_apart(self, embeddings: list[Embeddings], count: Count) -> Diarization:
        import numpy as np

        from speech_server.hearing.speakers.everybody import unit
        from speech_server.hearing.speakers.scenes import diarization
        from speech_server.hearing.speakers.turns import NOBODY

        if not embeddings:
            return NOBODY
        voices = np.stack([unit(own.mean(axis=0)) for own in embeddings])
        return diarization(self._played, voices, self._encoder.likeness, count, self._met())
