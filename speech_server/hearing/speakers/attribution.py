"""Whose the words are: by the turns they lie in, with changes moved to where a sentence ends."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate, groupby

from speech_server.domain import Segment, SpeakerTurn, Word
from speech_server.transcript.cues import SENTENCE_END

_REACH = 0.6  # seconds a change may be moved: how far a word's time may be wrong
_STEPS = (1, -1, 2, -2)  # words it may be moved by, in the order in which they are tried


def attributed(segments: Iterable[Segment], turns: Sequence[SpeakerTurn]) -> list[Segment]:
    """The segments with their speakers, cut where another one goes on; without words a segment has one speaker."""
    speakers = _Speakers(turns)
    found: list[Segment] = []
    for segment in segments:
        if segment.words:
            found += _cut(segment, _settled(segment.words, [speakers.of(w.start, w.end) for w in segment.words]))
        else:
            found.append(replace(segment, speaker=speakers.of(segment.start, segment.end)))
    return found


class _Speakers:
    """`turns` by where they begin; they may overlap."""

    def __init__(self, turns: Sequence[SpeakerTurn]) -> None:
        self._turns = turns
        self._latest = list(accumulate(turns, _later))
        self._ends = [turn.end for turn in self._latest]

    def of(self, start: float, end: float) -> str | None:
        """Who speaks most of the time in between, of several who do who began first; nobody does: who is nearest."""
        if not self._turns:
            return None
        at = bisect_left(self._ends, start)  # all before have ended
        shares: dict[str, float] = {}
        for turn in self._turns[at:]:
            if turn.start >= end:
                break
            if turn.end >= start:
                shares[turn.speaker] = shares.get(turn.speaker, 0.0) + min(end, turn.end) - max(start, turn.start)
        if shares:
            return max(shares, key=lambda speaker: shares[speaker])
        near = [*self._latest[max(at - 1, 0) : at], *self._turns[at : at + 1]]
        return min(near, key=lambda turn: max(turn.start - end, start - turn.end)).speaker


def _later(one: SpeakerTurn, other: SpeakerTurn) -> SpeakerTurn:
    return other if other.end > one.end else one


def _settled(words: Sequence[Word], speakers: list[str | None]) -> list[str | None]:
    """A change of speaker within a sentence, and a sentence's end beside it: there it was."""
    settled = list(speakers)
    for at in range(1, len(words)):
        if speakers[at] == speakers[at - 1] or SENTENCE_END.search(words[at - 1].word):
            continue
        for step in _STEPS:
            place = at + step
            if not 0 < place < len(words) or not SENTENCE_END.search(words[place - 1].word):
                continue
            moved = range(at, place) if step > 0 else range(place, at)
            # Beside a pause a word's outer time may be far out, its inner one is near.
            near = words[moved[-1]].start - words[at - 1].end if step > 0 else words[at].start - words[place].end
            if near > _REACH:
                continue
            of = speakers[at - 1] if step > 0 else speakers[at]
            if len({speakers[index] for index in moved}) == 1:
                for index in moved:
                    settled[index] = of
                break
    return settled


def _cut(segment: Segment, speakers: Sequence[str | None]) -> Iterator[Segment]:
    words = [replace(word, speaker=speaker) for word, speaker in zip(segment.words, speakers, strict=True)]
    parts = [(speaker, tuple(part)) for speaker, part in groupby(words, key=lambda word: word.speaker)]
    if len(parts) == 1:
        yield replace(segment, words=parts[0][1], speaker=parts[0][0])
        return
    for number, (speaker, part) in enumerate(parts):
        start = segment.start if number == 0 else part[0].start
        end = segment.end if number == len(parts) - 1 else part[-1].end
        text = "".join(word.word for word in part)
        # Which tokens are whose is not known; the first part keeps them, so that none is lost.
        own = segment if number == 0 else replace(segment, tokens=(), logprobs=())
        yield replace(own, start=start, end=max(end, start), text=text, words=part, speaker=speaker)
