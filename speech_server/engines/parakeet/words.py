"""Tokens with the times at which they begin -> words, and segments of a sentence each. Pure."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from speech_server.domain import RATE, Segment, SpeechChunk, TokenLogprob, Word
from speech_server.engines.interfaces import TranscribeOptions
from speech_server.text.sentences import split

_CLOSING = tuple(".,!?;:…)]}")
_LONGEST_TOKEN = 0.32  # seconds: the longest duration the model can predict, 4 frames of 80 ms
_PAUSE = 1.0  # seconds between words that end a segment, whatever the sentence


@dataclass(frozen=True, slots=True)
class HeardToken:
    id: int
    text: str
    start: float  # seconds of the chunk
    logprob: float


@dataclass(frozen=True, slots=True)
class _Spoken:
    """A word, and the tokens that make it up: their texts joined are the word's."""

    word: Word
    tokens: tuple[HeardToken, ...]


def to_segments(chunk: SpeechChunk, tokens: Sequence[HeardToken], options: TranscribeOptions) -> tuple[Segment, ...]:
    """Without timestamps there is one segment, as Whisper makes it."""
    words = list(_words(chunk, tidied(tokens)))
    if not words:
        return ()
    groups = [words] if options.without_timestamps else _sentences(words, options.language or "en")
    return tuple(_segment(group, options) for group in groups)


def tidied(tokens: Sequence[HeardToken]) -> list[HeardToken]:
    """The first word begins with a space, as all do; a mark that closes something follows its word without one, and
    a space by itself begins the word after it."""
    tidy: list[HeardToken] = []
    for place, token in enumerate(tokens):
        text = token.text
        following = tokens[place + 1].text if place + 1 < len(tokens) else ""
        if text.strip():
            text = text.lstrip() if text.strip().startswith(_CLOSING) else text
        elif not following.strip() or following.startswith((" ", *_CLOSING)):
            continue
        if not tidy:
            text = " " + text.lstrip()
        tidy.append(replace(token, text=text))
    return tidy


def _words(chunk: SpeechChunk, tokens: Sequence[HeardToken]) -> Iterator[_Spoken]:
    begins = [place for place, token in enumerate(tokens) if token.text.startswith(" ")]
    length = len(chunk.samples) / RATE
    for begin, end in pairwise([*begins, len(tokens)]):
        own = tuple(tokens[begin:end])
        limit = tokens[end].start if end < len(tokens) else length
        voiced = [token for token in own if any(map(str.isalnum, token.text))] or own
        # A mark has the time at which the model was sure of it, which may be long after the word.
        start = min(voiced[0].start, length)
        start, stop = chunk.times(start, max(start, min(voiced[-1].start + _LONGEST_TOKEN, limit, length)))
        probability = sum(math.exp(token.logprob) for token in own) / len(own)
        yield _Spoken(Word(start, stop, "".join(token.text for token in own), probability), own)


def _sentences(words: Sequence[_Spoken], language: str) -> Iterator[list[_Spoken]]:
    ends, length = set(), 0
    for sentence in split("".join(spoken.word.word for spoken in words), language):
        length += len(sentence.rstrip())
        ends.add(length)
        length += len(sentence) - len(sentence.rstrip())
    group: list[_Spoken] = []
    said = 0
    for spoken in words:
        if group and (said in ends or spoken.word.start - group[-1].word.end >= _PAUSE):
            yield group
            group = []
        group.append(spoken)
        said += len(spoken.word.word)
    yield group


def _segment(words: Sequence[_Spoken], options: TranscribeOptions) -> Segment:
    tokens = [token for spoken in words for token in spoken.tokens]
    text = "".join(token.text for token in tokens)
    return Segment(
        start=words[0].word.start,
        end=words[-1].word.end,
        text=text,
        tokens=tuple(token.id for token in tokens),
        avg_logprob=sum(token.logprob for token in tokens) / len(tokens),
        compression_ratio=len(text.encode()) / len(zlib.compress(text.encode())),
        words=tuple(spoken.word for spoken in words) if options.word_timestamps else (),
        logprobs=tuple(TokenLogprob(token.text, token.logprob) for token in tokens) if options.logprobs else (),
    )
