"""A pause in the middle of a sentence cuts a turn in two: the second half is heard with the words of the first."""

from __future__ import annotations

import pytest

from tests.speech_server.realtime.stage import Stage


@pytest.fixture
def stage() -> Stage:
    return Stage(type="transcription")


def test_a_turn_after_a_short_pause_is_heard_with_the_words_before_it(stage: Stage):
    stage.turn("It was the spring of hope,")
    stage.say(1000)
    assert [work.before for work in stage.guesses()] == ["It was the spring of hope,"]
    stage.be_silent(800)
    assert [work.before for work in stage.finals()] == ["It was the spring of hope,"]
    stage.transcribe("it was the winter of despair.")
    stage.say(1000)
    stage.be_silent(800)
    assert [work.before for work in stage.finals()] == ["it was the winter of despair."], "and none earlier"


def test_words_said_long_ago_explain_nothing(stage: Stage):
    stage.turn("It was the spring of hope,")
    stage.be_silent(2500)
    stage.say(1000)
    stage.be_silent(800)
    assert [work.before for work in stage.finals()] == [""]


def test_words_that_are_not_known_yet_are_not_waited_for(stage: Stage):
    stage.say(1000)
    stage.be_silent(800)
    stage.say(1000)
    stage.be_silent(800)
    assert [work.before for work in stage.finals()] == ["", ""]


def test_words_that_were_cleared_away_explain_nothing(stage: Stage):
    stage.turn("It was the spring of hope,")
    stage.send("input_audio_buffer.clear")
    stage.say(1000)
    stage.be_silent(800)
    assert [work.before for work in stage.finals()] == [""]


def test_a_piece_of_a_long_turn_is_heard_with_the_end_of_the_one_before(stage: Stage):
    stage.say(26_000)
    stage.transcribe(" one two three four" * 20)
    stage.say(1000)
    stage.be_silent(600)
    (work,) = stage.finals()
    assert 190 < len(work.before) <= 200
    assert (" one two three four" * 20).endswith(f" {work.before}"), "whole words of it"


def test_push_to_talk_turns_stand_alone():
    stage = Stage(type="transcription", audio={"input": {"turn_detection": None}})
    for text in ("One.", "Two."):
        stage.say(1000)
        stage.send("input_audio_buffer.commit")
        assert [work.before for work in stage.finals()] == [""], "nobody knows how long the button was up"
        stage.transcribe(text)
