"""Nothing that was heard makes subtitles out of proportion to its length."""

from __future__ import annotations

import pytest

from speech_server.domain import Segment, Word
from speech_server.errors import InvalidRequest
from speech_server.transcript.cues import Cue, breakable, split, tokens_of
from speech_server.transcript.formats import plain_text, srt_cue, verbose, vtt_cue
from speech_server.transcript.languages import language_code
from tests.speech_server.growth import ATOMS, MOST, Read, growth, repeated


def one_segment(text: str) -> list[Segment]:
    return [Segment(0.0, len(text) / 15, text)]


def one_word(text: str) -> list[Segment]:
    return [Segment(0.0, 5.0, text, words=(Word(0.0, 5.0, text, 0.5),))]


def refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        language_code("not " + text)


FUNCTIONS: dict[str, tuple[Read, int]] = {
    "split": (lambda text: list(split(one_segment(text))), 400),
    "split, one word": (lambda text: list(split(one_word(text))), 400),
    "tokens_of": (lambda text: list(tokens_of(one_segment(text)[0])), 8_000),
    "breakable": (breakable, 20_000),
    "srt_cue": (lambda text: srt_cue(1, Cue(0, 5, (text,))), 40_000),
    "vtt_cue": (lambda text: vtt_cue(Cue(0, 5, (text,))), 40_000),
    "plain_text": (lambda text: plain_text(one_segment(text)), 40_000),
    "verbose": (
        lambda text: verbose(one_word(text), task="transcribe", language="en", duration=5.0, words=True),
        40_000,
    ),
    "language_code": (refused, 40_000),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_twice_the_text_takes_twice_the_time(name: str):
    read, size = FUNCTIONS[name]
    found = {atom: round(growth(read, repeated(atom), size), 1) for atom in ATOMS}
    assert {atom: times for atom, times in found.items() if times > MOST} == {}
