"""Turns a transcript into the bodies of OpenAI's response formats."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from speech_server.domain import Likeness, Person, Segment, SpeakerTurn, TokenLogprob, Word
from speech_server.transcript.cues import Cue, split

FIRST_SPEAKER = "A"


def plain_text(segments: Iterable[Segment]) -> str:
    return "".join(segment.text for segment in segments).strip()


def dialogue(segments: Iterable[Segment]) -> str:
    """A line for each turn, with its speaker's name where there is one."""
    turns = [(name, plain_text(turn)) for name, turn in groupby(segments, key=lambda segment: segment.speaker)]
    return "\n".join(f"{name}: {text}" if name else text for name, text in turns if text)


def srt(segments: Iterable[Segment]) -> str:
    return "".join(srt_cue(number, cue) for number, cue in enumerate(split(segments), 1))


def srt_cue(number: int, cue: Cue) -> str:
    # A line with an arrow would be read as the next cue's times.
    lines = _named(cue.speaker, "\n".join(cue.lines)).replace("-->", "->")
    return f"{number}\n{clock(cue.start_ms, ',')} --> {clock(cue.end_ms, ',')}\n{lines}\n\n"


def vtt(segments: Iterable[Segment]) -> str:
    return "WEBVTT\n\n" + "".join(map(vtt_cue, split(segments)))


def vtt_cue(cue: Cue) -> str:
    # https://www.w3.org/TR/webvtt1/#webvtt-cue-text-span
    lines = _escaped("\n".join(cue.lines))
    if cue.speaker:  # https://www.w3.org/TR/webvtt1/#webvtt-cue-voice-span
        lines = f"<v {_escaped(cue.speaker)}>{lines}"
    return f"{clock(cue.start_ms, '.')} --> {clock(cue.end_ms, '.')}\n{lines}\n\n"


def _named(speaker: str | None, text: str) -> str:
    return f"{speaker}: {text}" if speaker else text


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


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
    "text": TextFormat("text/plain", dialogue, timed=False),
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
        **_times(segment),
        "text": segment.text,
        "tokens": list(segment.tokens),
        "temperature": number(segment.temperature, 2),
        "avg_logprob": number(segment.avg_logprob, 6),
        "compression_ratio": number(segment.compression_ratio, 6),
        "no_speech_prob": number(segment.no_speech_prob, 6),
        **_speaker(segment),
    }


def word_entry(word: Word) -> dict[str, Any]:
    return {"word": word.word.strip(), **_times(word), **_speaker(word)}


def _times(of: Word | Segment | SpeakerTurn) -> dict[str, float]:
    return {"start": number(of.start, 3), "end": number(of.end, 3)}


def _speaker(of: Word | Segment) -> dict[str, str]:
    return {} if of.speaker is None else {"speaker": of.speaker}


def diarized(segments: Sequence[Segment], *, duration: float) -> dict[str, Any]:
    """OpenAI's diarized_json."""
    return {
        "task": "transcribe",
        "duration": number(duration, 3),
        "text": plain_text(segments),
        "segments": [diarized_segment(index, segment) for index, segment in enumerate(segments)],
        "usage": usage(duration),
    }


def diarized_segment(index: int, segment: Segment, *, words: bool = False) -> dict[str, Any]:
    return {**streamed_segment(index, segment, words=words), "speaker": segment.speaker or FIRST_SPEAKER}


def streamed_segment(index: int, segment: Segment, *, words: bool) -> dict[str, Any]:
    timed = {"words": [word_entry(word) for word in segment.words]} if words else {}
    return {
        "type": "transcript.text.segment",
        "id": f"seg_{index:03}",
        **_times(segment),
        "text": segment.text.strip(),
        **timed,
    }


def turn_entry(turn: SpeakerTurn) -> dict[str, Any]:
    return {**_times(turn), "speaker": turn.speaker}


def rttm(turns: Iterable[SpeakerTurn], name: str) -> str:
    """NIST's Rich Transcription Time Marked: one line for each turn, no field with a space."""
    lines = []
    for turn in turns:
        start, length = f"{turn.start:.3f}", f"{turn.end - turn.start:.3f}"
        speaker = "_".join(turn.speaker.split())
        lines.append(f"SPEAKER {name} 1 {start} {length} <NA> <NA> {speaker} <NA> <NA>\n")
    return "".join(lines)


def voices(people: Iterable[Person], encoder: str, likeness: Likeness) -> dict[str, Any]:
    """What each speaker's voice is like, and what whoever compares them with others has to know."""
    return {
        "speakers": [speaker_entry(person) for person in people],
        "speaker_encoder": {"model": encoder, **asdict(likeness)},
    }


def speaker_entry(person: Person) -> dict[str, Any]:
    voice = [number(float(part), 6) for part in person.voice]
    return {"speaker": person.name, "seconds": number(person.seconds, 3), "embedding": voice}


def languages(code: str | None) -> list[dict[str, str]]:
    """As gpt-transcribe tells them; none for silence."""
    return [{"code": code}] if code else []


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
