"""Turns a transcript into the bodies of OpenAI's response formats."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from speech_server.domain import Segment, TokenLogprob, Word
from speech_server.transcript.cues import Cue, split


def plain_text(segments: Iterable[Segment]) -> str:
    return "".join(segment.text for segment in segments).strip()


def srt(segments: Iterable[Segment]) -> str:
    return "".join(srt_cue(number, cue) for number, cue in enumerate(split(segments), 1))


def srt_cue(number: int, cue: Cue) -> str:
    # A line with an arrow would be read as the next cue's times.
    lines = "\n".join(cue.lines).replace("-->", "->")
    return f"{number}\n{clock(cue.start_ms, ',')} --> {clock(cue.end_ms, ',')}\n{lines}\n\n"


def vtt(segments: Iterable[Segment]) -> str:
    return "WEBVTT\n\n" + "".join(map(vtt_cue, split(segments)))


def vtt_cue(cue: Cue) -> str:
    # https://www.w3.org/TR/webvtt1/#webvtt-cue-text-span
    lines = "\n".join(cue.lines).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f"{clock(cue.start_ms, '.')} --> {clock(cue.end_ms, '.')}\n{lines}\n\n"


def clock(ms: int, point: str) -> str:
    seconds, ms = divmod(ms, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{point}{ms:03}"


@dataclass(frozen=True, slots=True)
class TextFormat:
    """A response format that is text; `timed`: it shows when each word was said."""

    content_type: str
    write: Callable[[Iterable[Segment]], str]
    timed: bool = True


TEXTS = {
    "text": TextFormat("text/plain", plain_text, timed=False),
    "srt": TextFormat("application/x-subrip", srt),
    "vtt": TextFormat("text/vtt", vtt),
}


def verbose(segments: Sequence[Segment], *, task: str, language: str, duration: float, words: bool) -> dict[str, Any]:
    return {
        "task": task,
        "language": language,
        "duration": number(duration, 3),
        "text": plain_text(segments),
        "segments": [verbose_segment(index, segment) for index, segment in enumerate(segments)],
        "words": [word_entry(word) for segment in segments for word in segment.words] if words else None,
        "usage": usage(duration),
    }


def verbose_segment(index: int, segment: Segment) -> dict[str, Any]:
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


def word_entry(word: Word) -> dict[str, Any]:
    return {"word": word.word.strip(), "start": number(word.start, 3), "end": number(word.end, 3)}


def usage(duration: float) -> dict[str, Any]:
    """What OpenAI bills: whole seconds begun."""
    return {"type": "duration", "seconds": math.ceil(round(duration, 3))}


def logprob_entries(logprobs: Iterable[TokenLogprob]) -> list[dict[str, Any]]:
    return [
        {"token": entry.token, "logprob": number(entry.logprob, 6), "bytes": list(entry.token.encode())}
        for entry in logprobs
    ]


def number(value: float, digits: int) -> float:
    """JSON has no infinity: a probability of exactly nothing is a very small one."""
    return round(value, digits) if math.isfinite(value) else (-1e4 if value < 0 else 0.0)
