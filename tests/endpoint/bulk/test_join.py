"""Answers to pieces, joined, are the answer that the whole would have had."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from endpoint.bulk.join import ASKED, joined, language_of
from endpoint.bulk.people import Speakers
from speech_server.domain import EVERYBODY, Likeness, Person, Segment, Word
from speech_server.transcript import formats

LIKENESS = Likeness(apart=0.26, few_apart=0.24)
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


VOICES = dict(zip(("Anna", "A", "B"), np.eye(3, dtype=np.float32), strict=True))
WANTED = Speakers(EVERYBODY, frozenset({"Anna"}), voices=True)


@st.composite
def conversations(draw: st.DrawFn) -> list[list[Segment]]:
    """The same, of people who first speak in the order of VOICES and may go on in any."""
    speakers = iter([*VOICES, *draw(st.lists(st.sampled_from(sorted(VOICES)), min_size=50, max_size=50))])
    return [[spoken_by(segment, next(speakers)) for segment in piece] for piece in draw(recordings())]


def spoken_by(segment: Segment, speaker: str) -> Segment:
    words = tuple(Word(w.start, w.end, segment.text, w.probability, speaker) for w in segment.words)
    return replace(segment, speaker=speaker, words=words)


def from_worker(piece: list[Segment]) -> str:
    """What hears a piece knows Anna; the others are letters as they come in it."""
    seconds = Counter(str(segment.speaker) for segment in piece)
    names = dict(zip((name for name in seconds if name != "Anna"), "ABC", strict=False)) | {"Anna": "Anna"}
    heard = [spoken_by(segment, names[str(segment.speaker)]) for segment in piece]
    people = [Person(names[name], 5.0 * count, VOICES[name]) for name, count in seconds.items()]
    body = formats.verbose(heard, task="transcribe", language="en", duration=10.25, words=True)
    return json.dumps(body | formats.voices(people, "ge2e", LIKENESS))


@pytest.mark.parametrize("shape", [*ASKED])
@given(pieces=conversations())
def test_speakers_of_pieces_are_those_of_the_whole(shape: str, pieces: list[list[Segment]]):
    together = joined(shape, [from_worker(piece) for piece in pieces], WANTED)
    whole = [segment for piece in pieces for segment in piece]
    duration = 10.25 * len(pieces)
    if text := formats.TEXTS.get(shape):
        assert together == text.write(whole) + ("\n" if shape == "text" else "")
        return
    body = json.loads(together)
    assert {entry["speaker"] for entry in body.pop("speakers")} == {segment.speaker for segment in whole}
    assert body.pop("speaker_encoder")["model"] == "ge2e"
    if shape == "json":
        assert body == {"text": formats.dialogue(whole), "usage": formats.usage(duration)}
    elif shape == "diarized_json":
        assert body == json.loads(json.dumps(formats.diarized(whole, duration=duration)))
    else:
        expected = formats.verbose(whole, task="transcribe", language="en", duration=duration, words=True)
        assert body == json.loads(json.dumps(expected))


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


ENDLESS = formats.verbose([], task="transcribe", language="und", duration=1.0, words=False) | {"duration": math.inf}


@pytest.mark.parametrize("said", ["no json", "[]", "{}", '{"text": "x"}', '{"a":' * 100_000, json.dumps(ENDLESS)])
def test_what_is_no_answer_is_said(said: str):
    """By a ValueError: all else would end the other recordings, too."""
    with pytest.raises(ValueError, match=r".+"):
        joined("text", [said])


def test_a_language_is_not_looked_for_in_what_cannot_be_read():
    with pytest.raises(ValueError, match=r".+"):
        language_of('{"a":' * 100_000)
