"""No text is worth more time than its length: twice of it takes twice as long, whatever it is made of."""

from __future__ import annotations

import re
import sys
import time
from types import FrameType
from typing import Any

import pytest

from speech_server.text import english
from speech_server.text.growing import LONGEST_WAIT, GrowingText
from speech_server.text.markup import plain
from speech_server.text.reading import read_signs
from speech_server.text.sentences import complete_sentences, cut, speakable
from tests.speech_server.growth import ATOMS, LETTERS, MOST, Read, growth, mixtures, repeated, seconds

LARGEST = 100_000  # MAX_INPUT_CHARACTERS


def grow(text: str) -> None:
    """As a language model writes it: a few letters at a time."""
    growing = GrowingText()
    for start in range(0, len(text), 4):
        growing.add(text[start : start + 4])
    growing.finish()


# Each public function, and the size at which single atoms are tried.
FUNCTIONS: dict[str, tuple[Read, int]] = {
    "plain": (plain, 40_000),
    "read_signs, English": (lambda text: read_signs(text, "en-us"), 20_000),
    "read_signs, French": (lambda text: read_signs(text, "fr-fr"), 20_000),
    "read_signs, Mandarin": (lambda text: read_signs(text, "zh"), 20_000),
    "english.read": (english.read, 20_000),
    "complete_sentences": (lambda text: complete_sentences(text, "en"), 20_000),
    "GrowingText": (grow, 2_000),
    "cut": (lambda text: list(cut(text, "en-us")), 20_000),
    "cut, Mandarin": (lambda text: list(cut(text, "zh")), 20_000),
    "speakable": (speakable, 40_000),
}
# The atoms of which mixtures are tried, and the size: above what a pattern's own limits add up to.
MIXED = {
    "plain": (ATOMS, 3_000),
    "read_signs, English": (LETTERS, 2_500),
    "complete_sentences": (ATOMS, 8_000),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_twice_the_text_takes_twice_the_time(name: str):
    read, size = FUNCTIONS[name]
    read(repeated("A first sentence. ")(100))  # compiles its patterns
    found = {atom: round(growth(read, repeated(atom), size), 1) for atom in ATOMS}
    assert {atom: times for atom, times in found.items() if times > MOST} == {}


@pytest.mark.slow
@pytest.mark.parametrize("name", MIXED)
def test_mixtures_of_two_take_twice_the_time(name: str):
    read, (atoms, size) = FUNCTIONS[name][0], MIXED[name]
    read(repeated("A first sentence. ")(100))
    found = {label: round(growth(read, text, size), 1) for label, text in mixtures(atoms)}
    assert {label: times for label, times in found.items() if times > MOST} == {}


def test_a_square_is_noticed():
    spaces = re.compile(r"\s*→")
    # Once is enough: other work beside a short run can hide it, and cannot make it up.
    assert any(growth(lambda text: spaces.sub("", text), repeated(" "), 2000) > MOST for _ in range(5))


def longest_step(read: Read, text: str) -> float:
    """Seconds of the longest step without a call or return between two others: what holds every other thread up."""
    longest, last = 0.0, time.thread_time()

    def look(frame: FrameType, event: str, arg: Any) -> None:
        nonlocal longest, last
        now = time.thread_time()
        longest, last = max(longest, now - last), now

    sys.setprofile(look)
    try:
        read(text)
    finally:
        sys.setprofile(None)
    return longest


@pytest.mark.parametrize("name", ["plain", "complete_sentences"])
def test_no_step_of_the_longest_text_holds_the_others_up(name: str):
    """The yardstick is one plain pattern over as much text: 3 ms on a common machine, so the limit is about 40 ms."""
    read = FUNCTIONS[name][0]
    words, prose = re.compile(r"\w+"), repeated("Words and words. ")(LARGEST)
    read(prose[:1000])
    over = {}
    for atom in ATOMS:
        for _ in range(5):
            allowed = 12 * seconds(lambda text: words.sub("", text), prose)
            step = longest_step(read, repeated(atom)(LARGEST))
            if step <= allowed:
                break
        else:
            over[atom] = (step, allowed)
    assert over == {}


def test_what_grows_hands_over_whatever_has_no_end():
    growing, text = GrowingText(), "ab`😀" * LONGEST_WAIT
    assert growing.add(text) + growing.finish() == text
    assert len(growing.add(text)) > len(text) - LONGEST_WAIT - 1
