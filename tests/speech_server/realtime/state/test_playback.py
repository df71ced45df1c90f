"""What a call's person hears of an answer: the session has it played, and knows at any time how far it is."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from speech_server.realtime.protocol.outputs import Hush, Play
from tests.speech_server.realtime.stage import Stage

STARTED, STOPPED, CLEARED = (f"output_audio_buffer.{what}" for what in ("started", "stopped", "cleared"))
SOUND = base64.b64encode(bytes(9600)).decode()
WORDS = "one two three four five six seven eight nine ten"


@pytest.fixture
def stage() -> Stage:
    stage = Stage(plays=True)
    stage.events()
    stage.turn("Hello.")
    return stage


def say(stage: Stage, *ends: float) -> list[dict[str, Any]]:
    """The answer so far: WORDS, whose audio reaches to each of these milliseconds."""
    response = stage.generating[-1].response_id
    if len(ends) > 1 or not stage.played:
        stage.session.reply_text(response, WORDS)
    for end in ends:
        stage.session.reply_audio(response, SOUND, WORDS, 0, end)
    return stage.events()


def end(stage: Stage) -> list[dict[str, Any]]:
    stage.session.reply_done(stage.generating[-1].response_id, "stop", None)
    return stage.events()


def names(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


def heard_of(stage: Stage) -> str:
    """What the language model is told of its answer."""
    stage.send("response.create")
    told: list[str] = [
        message["content"] for message in stage.generating[-1].body["messages"] if message["role"] == "assistant"
    ]
    return told[-1]


def test_sound_goes_to_the_player_and_the_client_is_told_when_it_starts_and_stops(stage: Stage):
    told = names(say(stage, 1000, 2000))
    assert told.index("response.content_part.added") < told.index(STARTED)
    assert "response.output_audio.delta" not in told
    assert [play.data for play in stage.played if isinstance(play, Play)] == [SOUND] * 2
    stage.wait(500)
    assert "response.done" in names(end(stage))
    assert stage.session.due == stage.now + 1.5
    assert names(stage.wait(1400)) == []
    assert names(stage.wait(100)) == [STOPPED]
    assert stage.session.due is None


def test_a_pause_of_the_synthesis_is_not_the_end(stage: Stage):
    say(stage, 1000)
    assert names(stage.wait(3000)) == []
    say(stage, 2000)
    end(stage)
    assert names(stage.wait(900)) == []
    assert names(stage.wait(100)) == [STOPPED]


def test_speaking_over_it_silences_it_and_only_what_was_heard_was_said(stage: Stage):
    say(stage, 1000, 10_000)
    stage.be_silent(3000)
    told = names(stage.say(500))
    assert told.index("response.done") < told.index(CLEARED) < told.index("conversation.item.truncated")
    assert isinstance(stage.played[-1], Hush)
    stage.turn("No!")
    assert heard_of(stage) == "one two three"


def test_it_is_silenced_when_all_of_it_was_sent_but_not_yet_heard(stage: Stage):
    say(stage, 1000, 10_000)
    end(stage)
    stage.be_silent(5000)
    told = names(stage.say(500))
    assert "response.done" not in told
    assert CLEARED in told
    stage.turn("No!")
    assert heard_of(stage) == "one two three four five"
    assert STOPPED not in names(stage.be_silent(10_000))


def test_who_may_not_interrupt_does_not_silence(stage: Stage):
    turns = {"type": "server_vad", "interrupt_response": False}
    stage.send("session.update", session={"type": "realtime", "audio": {"input": {"turn_detection": turns}}})
    say(stage, 1000, 10_000)
    assert CLEARED not in names(stage.say(500))
    assert not any(isinstance(work, Hush) for work in stage.played)


@pytest.mark.parametrize("kind", ["response.cancel", "output_audio_buffer.clear"])
@pytest.mark.parametrize("over", [False, True])
def test_a_client_silences_it_whether_or_not_all_of_it_was_sent(stage: Stage, kind: str, over: bool):
    say(stage, 1000, 10_000)
    if over:
        end(stage)
    stage.wait(2000)
    told = names(stage.send(kind))
    assert told.count(CLEARED) == 1
    assert ("response.done" in told) is not over
    assert told[-1] == "conversation.item.truncated"
    assert heard_of(stage) == "one two"


def test_there_is_nothing_to_cancel_when_nothing_is_said_or_sounds(stage: Stage):
    say(stage, 1000)
    end(stage)
    stage.wait(1000)
    assert stage.send("response.cancel")[0]["error"]["code"] == "response_cancel_not_active"
