"""idle_timeout_ms: an answer was heard, nobody says anything, and the language model speaks again."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.speech_server.realtime.stage import FRAME_MS, Stage, named

TIMEOUT = "input_audio_buffer.timeout_triggered"
COMPLETED = "conversation.item.input_audio_transcription.completed"
SOUND = base64.b64encode(bytes(9600)).decode()


def stage_with(**turns: Any) -> Stage:
    vad = {"type": "server_vad", "idle_timeout_ms": 5000, **turns}
    stage = Stage(audio={"input": {"turn_detection": vad}})
    stage.events()
    return stage


@pytest.fixture
def stage() -> Stage:
    return stage_with()


def answer(stage: Stage, *, ms: float = 2000, reason: str = "stop") -> list[dict[str, Any]]:
    """The language model says something that takes so long to hear; it is sent at once."""
    response = stage.generating[-1].response_id
    stage.session.reply_text(response, "Still there?")
    stage.session.reply_audio(response, SOUND, "Still there?", 0, ms / 2)
    stage.session.reply_audio(response, SOUND, "Still there?", 0, ms)
    stage.session.reply_done(response, reason, None)
    return stage.events()


def test_it_counts_from_where_the_answer_has_been_heard_to_its_end(stage: Stage):
    stage.turn("Hello.")
    answer(stage, ms=2000)
    heard_until = stage.samples / 16 + 2000
    assert stage.be_silent(6900) == []
    told = named(stage.be_silent(200), TIMEOUT)
    assert told["audio_start_ms"] == pytest.approx(heard_until, abs=FRAME_MS)
    assert told["audio_end_ms"] == pytest.approx(heard_until + 5000, abs=2 * FRAME_MS)


def test_the_silence_is_a_turn_without_words_and_is_answered(stage: Stage):
    stage.turn("Hello.")
    answer(stage)
    told = stage.be_silent(7100)
    assert [event["type"] for event in told] == [
        TIMEOUT,
        "input_audio_buffer.committed",
        "conversation.item.added",
        COMPLETED,
        "conversation.item.done",
        "response.created",
        "rate_limits.updated",
    ]
    assert {event["item_id"] for event in told[:2]} == {told[2]["item"]["id"]}
    assert named(told, COMPLETED)["transcript"] == ""
    messages = stage.generating[-1].body["messages"]
    assert [message["content"] for message in messages] == ["Hello.", "Still there?", "(silence)"]


def test_it_needs_no_audio_to_pass(stage: Stage):
    stage.turn("Hello.")
    answer(stage, ms=2000)
    assert stage.wait(6990) == []
    told = named(stage.wait(20), TIMEOUT)
    assert told["audio_start_ms"] == told["audio_end_ms"] == stage.samples // 16


def test_it_comes_again_after_the_next_answer_and_the_hidden_silence_is_not_kept(stage: Stage):
    stage.turn("Hello.")
    answer(stage)
    stage.wait(7001)
    answer(stage)
    stage.wait(7001)
    messages = stage.generating[-1].body["messages"]
    assert [message["content"] for message in messages] == ["Hello.", "Still there?", "Still there?", "(silence)"]


def test_who_speaks_is_not_silent(stage: Stage):
    stage.turn("Hello.")
    answer(stage)
    stage.be_silent(6000)
    stage.say(3000)
    stage.be_silent(800)
    assert stage.wait(60_000) == [], "the text of the turn is not known yet"
    told = stage.transcribe("Yes.")
    assert (named(told, "response.created")["type"], stage.session.due) == ("response.created", None)


def test_a_noise_that_is_no_words_begins_the_wait_anew(stage: Stage):
    stage.turn("Hello.")
    answer(stage)
    stage.be_silent(6000)
    stage.turn("")
    assert stage.wait(4900) == []
    assert named(stage.wait(200), TIMEOUT)


def test_before_the_first_answer_nobody_waits(stage: Stage):
    assert stage.be_silent(20_000) == []
    assert stage.session.due is None


def test_an_answer_that_failed_is_not_asked_for_again(stage: Stage):
    stage.turn("Hello.")
    error = {"type": "upstream_error", "code": "llm_unavailable", "message": "gone", "param": None}
    stage.session.reply_failed(stage.generating[-1].response_id, error)
    stage.events()
    assert stage.wait(60_000) == []


def test_an_answer_that_goes_on_while_somebody_speaks_triggers_nothing():
    stage = stage_with(interrupt_response=False)
    stage.turn("Hello.")
    stage.say(1000)
    answer(stage, ms=100)
    assert TIMEOUT not in [event["type"] for event in stage.say(8000)]


def test_who_only_wants_it_written_down_from_now_on_is_not_spoken_to(stage: Stage):
    stage.turn("Hello.")
    answer(stage)
    stage.send("session.update", session={"type": "transcription"})
    assert stage.wait(20_000) == []


def test_a_session_that_answers_only_when_asked_is_told_and_asks_itself():
    stage = stage_with(create_response=False)
    stage.turn("Hello.")
    stage.send("response.create")
    answer(stage)
    told = [event["type"] for event in stage.wait(7001)]
    assert (told[0], "response.created" in told) == (TIMEOUT, False)


@pytest.mark.parametrize("turns", [{"type": "server_vad"}, {"type": "semantic_vad"}, None])
def test_without_the_setting_silence_is_only_silence(turns: dict[str, Any] | None):
    stage = Stage(audio={"input": {"turn_detection": turns}})
    stage.events()
    stage.send("response.create")
    answer(stage)
    assert stage.wait(60_000) == []
