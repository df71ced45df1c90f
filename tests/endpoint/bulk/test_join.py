"""Answers to pieces, joined, are the answer that the whole would have had."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from endpoint.bulk.join import ASKED, joined, language_of
from speech_server.domain import Segment, Word
from speech_server.transcript import formats

TEXTS = st.text(st.sampled_from("ab é,.!?1-->&<世界\n"), min_size=1, max_size=60)


@st.composite
def recordings(draw: st.DrawFn) -> list[list[Segment]]:
    """The segments of each piece, one after the other in time."""
    at, pieces = 0.0, []
    for texts in draw(st.lists(st.lists(TEXTS, max_size=8), min_size=1, max_size=5)):
        found = []
        for text in texts:
            start = at + draw(st.integers(0, 3000)) / 1000
            at = start + draw(st.integers(1, 9000)) / 1000
            words = tuple(Word(start, at, f" {word}", 0.5) for word in text.split()[:1])
            found.append(Segment(start=start, end=at, text=f" {text}", words=words))
        pieces.append(found)
    return pieces


def answer(shape: str, heard: list[Segment], duration: float) -> str:
    if shape in formats.TEXTS:
        return formats.TEXTS[shape].write(heard)
    body = formats.verbose(heard, task="transcribe", language="en", duration=duration, words=True)
    if shape == "json":
        body = {"text": formats.plain_text(heard), "usage": formats.usage(duration)}
    return json.dumps(body)


@pytest.mark.parametrize("shape", ["text", "json", "verbose_json", "srt", "vtt"])
@given(pieces=recordings())
def test_pieces_together_are_the_whole(shape: str, pieces: list[list[Segment]]):
    parts = [answer(ASKED[shape], piece, 10.25) for piece in pieces]
    whole = answer(shape, [segment for piece in pieces for segment in piece], 10.25 * len(pieces))
    together = joined(shape, parts)
    if shape.endswith("json"):
        assert json.loads(together) == json.loads(whole)
    elif shape == "text":
        assert together == f"{whole}\n"
    else:
        assert together == whole


def test_a_silent_beginning_does_not_decide_on_the_language():
    pieces = [
        formats.verbose([], task="transcribe", language="und", duration=600.0, words=False),
        formats.verbose(
            [Segment(start=1, end=2, text=" Hola")], task="transcribe", language="es", duration=9.5, words=False
        ),
    ]
    body = json.loads(joined("verbose_json", [json.dumps(piece) for piece in pieces]))
    assert (body["language"], body["duration"], body["usage"]["seconds"]) == ("es", 609.5, 610)


def test_silence_has_no_language():
    body = formats.verbose([], task="transcribe", language="und", duration=600.0, words=False)
    assert language_of(json.dumps(body)) is None
    assert language_of(json.dumps({**body, "language": "es"})) == "es"
    with pytest.raises(ValueError, match="no verbose_json"):
        language_of('{"text": "x"}')


@pytest.mark.parametrize("said", ["no json", "[]", "{}", '{"text": "x"}'])
def test_what_is_no_answer_is_said(said: str):
    with pytest.raises(ValueError, match=r".+"):
        joined("text", [said])
