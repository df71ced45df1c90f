"""Whose name nobody knows has a letter, and no letter is somebody's name."""

from __future__ import annotations

from speech_server.hearing.speakers.names import letter_of, lettered


def test_letters_go_on_after_z():
    assert [letter_of(number) for number in (0, 1, 25, 26, 27, 51, 52, 701, 702)] == [
        "A", "B", "Z", "AA", "AB", "AZ", "BA", "ZZ", "AAA",
    ]  # fmt: skip


def test_a_letter_that_is_a_name_is_given_to_nobody():
    assert lettered([None, "C", None, None], {"C", "A"}) == ["B", "C", "D", "E"]
