"""The answers to the pieces of a recording -> the answer to the recording, as if it had been one request."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from itertools import count
from typing import Any

# What a piece is asked for: plain text does not say whether a space belongs before its first word.
ASKED = {"text": "verbose_json", "json": "verbose_json", "verbose_json": "verbose_json", "srt": "srt", "vtt": "vtt"}
ENDING = {"text": "txt", "json": "json", "verbose_json": "json", "srt": "srt", "vtt": "vtt"}
_NUMBER = re.compile(r"^\d+$(?=\n\d+:\d\d:\d\d,\d{3} --> )", re.MULTILINE)
_UNKNOWN = "und"
_HEADER = "WEBVTT\n\n"


def joined(shape: str, answers: Sequence[str]) -> str:
    """`answers` in order, in the format ASKED for `shape`. Raises ValueError where they are not."""
    if shape == "srt":
        numbers = count(1)
        return _NUMBER.sub(lambda _: str(next(numbers)), "".join(map(_whole_cues, answers)))
    if shape == "vtt":
        return _HEADER + "".join(_whole_cues(answer.removeprefix(_HEADER)) for answer in answers)
    try:
        body = _verbose([json.loads(answer) for answer in answers])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"an answer is no verbose_json: {error!r}") from error
    if shape == "text":
        return f"{body['text']}\n"
    if shape == "json":
        body = {"text": body["text"], "usage": body["usage"]}
    return json.dumps(body, ensure_ascii=False) + "\n"


def language_of(answer: str) -> str | None:
    """Of a verbose_json; None where nobody spoke. Raises ValueError where it is none."""
    body = json.loads(answer)
    if not isinstance(body, dict) or not isinstance(language := body.get("language"), str):
        raise ValueError("an answer is no verbose_json: it names no language")
    return None if language == _UNKNOWN else language


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
