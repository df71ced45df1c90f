"""The answers to the pieces of a recording -> the answer to the recording, as if it had been one request.

With speakers each piece is asked for what all of them need, and the whole is written by the server's own code.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from itertools import count
from typing import Any

from endpoint.bulk.people import Speakers, named
from endpoint.bulk.segments import segments_of
from speech_server.transcript import formats

# What a piece is asked for: plain text does not say whether a space belongs before its first word.
# Subtitles can be joined as they are, but for their speakers.
ASKED = {
    "text": "verbose_json", "json": "verbose_json", "verbose_json": "verbose_json", "diarized_json": "verbose_json",
    "srt": "srt", "vtt": "vtt",
}  # fmt: skip
ENDING = {
    "text": "txt", "json": "json", "verbose_json": "json", "diarized_json": "json", "srt": "srt", "vtt": "vtt"
}  # fmt: skip
_NUMBER = re.compile(r"^\d+$(?=\n\d+:\d\d:\d\d,\d{3} --> )", re.MULTILINE)
_UNKNOWN = "und"
_HEADER = "WEBVTT\n\n"


def asked(shape: str, speakers: Speakers | None) -> str:
    return "verbose_json" if speakers else ASKED[shape]


def joined(shape: str, answers: Sequence[str], speakers: Speakers | None = None) -> str:
    """`answers` in order, in the format `asked` for `shape`. Raises ValueError where they are not, Refused."""
    if shape == "srt" and not speakers:
        numbers = count(1)
        return _NUMBER.sub(lambda _: str(next(numbers)), "".join(map(_whole_cues, answers)))
    if shape == "vtt" and not speakers:
        return _HEADER + "".join(_whole_cues(answer.removeprefix(_HEADER)) for answer in answers)
    try:
        bodies = [_read(answer) for answer in answers]
        if speakers:
            return _diarized(shape, bodies, speakers)
        body = _verbose(bodies)
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"an answer is no verbose_json: {error!r}") from error
    if shape == "text":
        return f"{body['text']}\n"
    if shape == "json":
        body = {"text": body["text"], "usage": body["usage"]}
    return json.dumps(body, ensure_ascii=False) + "\n"


def _diarized(shape: str, bodies: list[dict[str, Any]], speakers: Speakers) -> str:
    bodies, voices = named(bodies, speakers)
    body = _verbose(bodies)
    segments = [segment for each in bodies for segment in segments_of(each)]
    if shape == "text":
        return f"{formats.dialogue(segments)}\n"
    if text := formats.TEXTS.get(shape):
        return text.write(segments)
    if shape == "diarized_json":
        body = formats.diarized(segments, duration=body["duration"])
    elif shape == "json":
        body = {"text": formats.dialogue(segments), "usage": body["usage"]}
    return json.dumps(body | voices, ensure_ascii=False) + "\n"


def language_of(answer: str) -> str | None:
    """Of a verbose_json; None where nobody spoke. Raises ValueError where it is none."""
    body = _read(answer)
    if not isinstance(body, dict) or not isinstance(language := body.get("language"), str):
        raise ValueError("an answer is no verbose_json: it names no language")
    return None if language == _UNKNOWN else language


def _read(answer: str) -> Any:
    try:
        return json.loads(answer)
    except RecursionError:
        raise ValueError("an answer is no verbose_json: it is nested too deep") from None


def _whole_cues(answer: str) -> str:
    """Cues end with an empty line."""
    cues = answer.strip("\n")
    return f"{cues}\n\n" if cues else ""


def _verbose(bodies: list[dict[str, Any]]) -> dict[str, Any]:
    segments = [segment for body in bodies for segment in body["segments"]]
    words = [word for body in bodies for word in body["words"] or ()]
    duration = round(sum(body["duration"] for body in bodies), 3)
    languages = [body["language"] for body in bodies if body["segments"]] or [body["language"] for body in bodies]
    return {
        "task": bodies[0]["task"],
        "language": languages[0],
        "duration": duration,
        "text": "".join(segment["text"] for segment in segments).strip(),
        "segments": [{**segment, "id": number} for number, segment in enumerate(segments)],
        "words": words if any(body["words"] is not None for body in bodies) else None,
        "usage": {"type": "duration", "seconds": math.ceil(duration)},
    }
