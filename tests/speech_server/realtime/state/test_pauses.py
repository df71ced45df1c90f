"""Whether a pause ends the turn, where somebody can tell: asked once a pause, and never worse than by silence alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from speech_server.domain import RATE
from tests.speech_server.realtime.stage import FRAME_MS, Stage, named

STOPPED = "input_audio_buffer.speech_stopped"
EAGERNESS = [("low", 400, 1200), ("auto", 300, 800), ("high", 200, 400)]  # asks and waits, in milliseconds


def semantic(eagerness: str = "auto", **more: Any) -> Stage:
    turns = {"type": "semantic_vad", "eagerness": eagerness}
    stage = Stage(type="transcription", audio={"input": {"turn_detection": turns}}, **more)
    stage.events()
    return stage


def ended(events: list[dict[str, Any]]) -> bool:
    return STOPPED in [event["type"] for event in events]


def silence_until_end(stage: Stage) -> float:
    """Milliseconds."""
    began = stage.samples
    while not ended(stage.hear(FRAME_MS, 0.02)):
        assert stage.samples - began < 60 * RATE
    return (stage.samples - began) * 1000 / RATE


@pytest.mark.parametrize(("eagerness", "asks", "waits"), EAGERNESS)
def test_who_has_finished_is_answered_after_a_short_silence(eagerness: str, asks: int, waits: int):
    stage = semantic(eagerness)
    stage.say(1000)
    assert not ended(stage.be_silent(asks - 2 * FRAME_MS))
    assert not stage.asked
    assert not ended(stage.be_silent(3 * FRAME_MS))
    events = stage.judge(finished=True)
    assert [event["type"] for event in events] == [STOPPED, "input_audio_buffer.committed", "conversation.item.added"]
    assert abs(events[0]["audio_end_ms"] - 1000) <= FRAME_MS
    (final,) = stage.finals()
    assert final.samples[-1] == np.float32(0.02)


@pytest.mark.parametrize(("eagerness", "asks", "waits"), EAGERNESS)
def test_who_has_not_finished_gets_three_times_as_long(eagerness: str, asks: int, waits: int):
    stage = semantic(eagerness)
    stage.say(1000)
    stage.be_silent(asks + FRAME_MS)
    assert stage.judge(finished=False) == []
    assert asks + FRAME_MS + silence_until_end(stage) == pytest.approx(3 * waits, abs=2 * FRAME_MS)
    assert not stage.asked


@pytest.mark.parametrize(("eagerness", "asks", "waits"), EAGERNESS)
@pytest.mark.parametrize("finished", [True, False])
def test_an_answer_that_comes_too_late_changes_nothing(eagerness: str, asks: int, waits: int, finished: bool):
    stage = semantic(eagerness)
    stage.say(1000)
    stage.be_silent(asks + FRAME_MS)
    (question,) = stage.asked
    assert asks + FRAME_MS + silence_until_end(stage) == pytest.approx(waits, abs=2 * FRAME_MS)
    assert not stage.asked, "nobody waits for the answer any more"
    stage.say(500)
    stage.session.pause_judged(question.pause, finished)
    assert stage.events() == []
    assert silence_until_end(stage) == pytest.approx(waits, abs=2 * FRAME_MS)


def test_each_pause_is_judged_once_by_itself():
    stage = semantic()
    stage.say(1000)
    stage.be_silent(500)
    stage.judge(finished=False)
    assert not ended(stage.be_silent(1000))
    assert not stage.asked
    stage.say(1000)
    assert stage.finals() == [], "what was taken for the whole is not"
    stage.be_silent(200)
    assert not stage.asked
    assert silence_until_end(stage) + 200 == pytest.approx(800, abs=2 * FRAME_MS), "the patience was the pause's"


def test_speech_that_goes_on_takes_the_question_back():
    stage = semantic()
    stage.say(1000)
    stage.be_silent(400)
    (question,) = stage.asked
    stage.say(100)
    assert not stage.asked
    stage.session.pause_judged(question.pause, True)
    assert not ended(stage.say(500))
    stage.be_silent(400)
    stage.session.pause_judged(question.pause, True)
    assert not ended(stage.events()), "the answer is about another pause"
    assert ended(stage.judge(finished=True))


@pytest.mark.parametrize("kind", ["input_audio_buffer.commit", "input_audio_buffer.clear", "session.update"])
def test_a_turn_that_ends_otherwise_takes_the_question_back(kind: str):
    stage = semantic()
    stage.say(1000)
    stage.be_silent(400)
    (question,) = stage.asked
    turns = {"audio": {"input": {"turn_detection": {"type": "semantic_vad", "eagerness": "low"}}}}
    stage.send(kind, **({"session": turns} if kind == "session.update" else {}))
    assert not stage.asked
    stage.session.pause_judged(question.pause, True)
    assert stage.events() == []


@pytest.mark.parametrize(("seconds", "heard"), [(2, 2.7), (6, 6.7), (28, 8)])
def test_at_most_the_last_eight_seconds_of_the_turn_are_asked_about(seconds: float, heard: float):
    """With 300 ms from before it, as of every turn; however many pieces of it are transcribed already."""
    stage = semantic()
    stage.be_silent(10_000)
    stage.say(seconds * 1000)
    stage.be_silent(300 + FRAME_MS)
    (question,) = stage.asked
    assert len(question.samples) / RATE == pytest.approx(heard, abs=0.1)
    silent = question.samples == np.float32(0.02)
    assert silent[-round(0.25 * RATE) :].all()
    assert not silent[-(len(silent) - round(0.4 * RATE)) : -round(0.4 * RATE)].any()


@pytest.mark.parametrize("turns", [{"type": "server_vad", "silence_duration_ms": 800}, None])
def test_without_semantic_vad_nobody_is_asked(turns: dict[str, Any] | None):
    stage = Stage(type="transcription", audio={"input": {"turn_detection": turns}})
    stage.say(1000)
    stage.be_silent(700)
    assert not stage.asked


def test_semantic_vad_can_be_turned_on_and_off():
    stage = Stage(type="transcription", audio={"input": {"turn_detection": {"type": "server_vad"}}})
    stage.events()
    stage.send("session.update", session={"audio": {"input": {"turn_detection": {"type": "semantic_vad"}}}})
    stage.say(1000)
    stage.be_silent(400)
    assert len(stage.asked) == 1
    # The same wait, and nobody to ask.
    alone = {"type": "server_vad", "silence_duration_ms": 800}
    stage.send("session.update", session={"audio": {"input": {"turn_detection": alone}}})
    assert not stage.asked
    stage.say(1000)
    stage.be_silent(400)
    assert not stage.asked


def test_the_answer_to_who_has_finished_begins_at_once():
    stage = Stage(audio={"input": {"turn_detection": {"type": "semantic_vad"}}})
    stage.events()
    stage.say(1000)
    stage.be_silent(400)
    stage.transcribe("What time is it?")
    assert named(stage.judge(finished=True), "response.created")
    assert len(stage.generating) == 1
