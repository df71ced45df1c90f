"""A verbose_json -> the segments that it was made of, with the words of each."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

from speech_server.domain import Segment, Word


def segments_of(body: dict[str, Any]) -> Iterator[Segment]:
    """Times, texts and speakers. Raises KeyError, TypeError and AttributeError where it is no such answer."""
    words = deque(word for word in body["words"] or () if word["word"])
    for entry in body["segments"]:
        start, end, text = entry["start"], entry["end"], entry["text"]
        own = _words_of(text, end, words)
        yield Segment(start=start, end=end, text=text, words=own, speaker=entry.get("speaker"))


def _words_of(text: str, end: float, words: deque[dict[str, Any]]) -> tuple[Word, ...]:
    """The next words, which stand in the list without the spaces between them, as far as they are the text."""
    own: list[Word] = []
    at = 0
    for entry in words:
        begin = at + len(text[at:]) - len(text[at:].lstrip())
        if not text.startswith(entry["word"], begin):
            break
        last = begin + len(entry["word"])
        own.append(Word(entry["start"], entry["end"], text[at:last], 1.0, entry.get("speaker")))
        at = last
    if text[at:].strip():  # an engine whose words are not its text: without their times it is still a subtitle
        while words and words[0]["start"] < end:
            words.popleft()
        return ()
    for _ in own:
        words.popleft()
    return tuple(own)
