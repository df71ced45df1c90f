"""Turns a transcript into the bodies of OpenAI's response formats."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from speech_server.transcript.cues import Cue, Passage, SpokenWord, split

CONTENT_TYPES = {"text": "text/plain", "srt": "application/x-subrip", "vtt": "text/vtt"}


class TranscribedWord(SpokenWord, Protocol):
    @property
    def probability(self) -> float: ...


class TranscribedSegment(Passage, Protocol):
    @property
    def words(self) -> Sequence[TranscribedWord]: ...
    @property
    def tokens(self) -> Sequence[int]: ...
    @property
    def temperature(self) -> float: ...
    @property
    def avg_logprob(self) -> float: ...
    @property
    def compression_ratio(self) -> float: ...
    @property
    def no_speech_prob(self) -> float: ...


class Logprob(Protocol):
    @property
    def token(self) -> str: ...
    @property
    def logprob(self) -> float: ...


def plain_text(segments: Iterable[Passage]) -> str:
    return "".join(segment.text for segment in segments).strip()


def srt(segments: Iterable[Passage]) -> str:
    return "".join(srt_cue(number, cue) for number, cue in enumerate(split(segments), 1))


def srt_cue(number: int, cue: Cue) -> str:
    # A line with an arrow would be read as the next cue's times.
    lines = "\n".join(cue.lines).replace("-->", "->")
    return f"{number}\n{clock(cue.start_ms, ',')} --> {clock(cue.end_ms, ',')}\n{lines}\n\n"


def vtt(segments: Iterable[Passage]) -> str:
    return "WEBVTT\n\n" + "".join(map(vtt_cue, split(segments)))


def vtt_cue(cue: Cue) -> str:
    # https://www.w3.org/TR/webvtt1/#webvtt-cue-text-span
    lines = "\n".join(cue.lines).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f"{clock(cue.start_ms, '.')} --> {clock(cue.end_ms, '.')}\n{lines}\n\n"


def clock(ms: int, point: str) -> str:
    seconds, ms = divmod(ms, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{point}{ms:03}"


def verbose(
    segments: Sequence[TranscribedSegment], *, task: str, language: str, duration: float, words: bool
) -> dict[str, Any]:
    return {
        "task": task,
        "language": language,
        "duration": number(duration, 3),
        "text": plain_text(segments),
        "segments": [verbose_segment(index, segment) for index, segment in enumerate(segments)],
        "words": [word_entry(word) for segment in segments for word in segment.words] if words else None,
        "usage": usage(duration),
    }


def verbose_segment(index: int, segment: TranscribedSegment) -> dict[str, Any]:
    return {
        "id": index,
        "seek": math.floor(segment.start * 100),  # Whisper's frames of 10 ms
        "start": number(segment.start, 3),
        "end": number(segment.end, 3),
        "text": segment.text,
        "tokens": list(segment.tokens),
        "temperature": number(segment.temperature, 2),
        "avg_logprob": number(segment.avg_logprob, 6),
        "compression_ratio": number(segment.compression_ratio, 6),
        "no_speech_prob": number(segment.no_speech_prob, 6),
    }


def word_entry(word: TranscribedWord) -> dict[str, Any]:
    return {"word": word.word.strip(), "start": number(word.start, 3), "end": number(word.end, 3)}


def usage(duration: float) -> dict[str, Any]:
    """What OpenAI bills: whole seconds begun."""
    return {"type": "duration", "seconds": math.ceil(round(duration, 3))}


def logprob_entries(logprobs: Iterable[Logprob]) -> list[dict[str, Any]]:
    return [
        {"token": entry.token, "logprob": number(entry.logprob, 6), "bytes": list(entry.token.encode())}
        for entry in logprobs
    ]


def number(value: float, digits: int) -> float:
    """JSON has no infinity: a probability of exactly nothing is a very small one."""
    return round(value, digits) if math.isfinite(value) else (-1e4 if value < 0 else 0.0)
