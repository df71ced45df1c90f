"""What a session makes of audio: turns, transcripts, and the work it asks of the engines."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from speech_server.domain import RATE, TokenLogprob
from speech_server.realtime.protocol.outputs import Written
from tests.speech_server.realtime.stage import FRAME_MS, Stage, named

DELTA = "conversation.item.input_audio_transcription.delta"
COMPLETED = "conversation.item.input_audio_transcription.completed"
FAILED = "conversation.item.input_audio_transcription.failed"


@pytest.fixture
def stage() -> Stage:
    stage = Stage(type="transcription")
    stage.events()
    return stage


def listening(**turns: Any) -> dict[str, Any]:
    return {"audio": {"input": {"turn_detection": {"type": "server_vad", **turns}}}}


def test_a_turn_is_told_from_its_start_to_its_text(stage: Stage):
    stage.be_silent(1000)
    started = named(stage.say(1300), "input_audio_buffer.speech_started")
    assert abs(started["audio_start_ms"] - (1000 - 300)) <= FRAME_MS
    ended = stage.be_silent(600)
    assert [event["type"] for event in ended] == [
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
    ]
    assert abs(ended[0]["audio_end_ms"] - 2300) <= FRAME_MS
    assert {started["item_id"], *(event.get("item_id") or event["item"]["id"] for event in ended)} == {
        started["item_id"]
    }
    told = stage.transcribe(" Hello there.")
    assert [event["type"] for event in told] == [DELTA, COMPLETED, "conversation.item.done"]
    assert (told[0]["delta"], told[1]["transcript"]) == ("Hello there.", "Hello there.")
    assert abs(told[1]["usage"]["seconds"] - 2.1) < 0.3
    assert told[2]["item"]["content"] == [{"type": "input_audio", "transcript": "Hello there."}]


def test_a_text_comes_with_its_language_and_where_asked_with_its_logprobs():
    stage = Stage(type="transcription", include=["item.input_audio_transcription.logprobs"])
    stage.say(1000)
    stage.be_silent(600)
    (work,) = stage.finals()
    assert work.logprobs
    told = named(stage.transcribe("Ja.", language="de", logprobs=(TokenLogprob("Ja.", -0.5),)), COMPLETED)
    assert told["languages"] == [{"code": "de"}]
    assert told["logprobs"] == [{"token": "Ja.", "logprob": -0.5, "bytes": [74, 97, 46]}]


def test_logprobs_are_nobody_s_work_unless_asked_for(stage: Stage):
    stage.say(1000)
    stage.be_silent(600)
    assert not stage.finals()[0].logprobs
    told = named(stage.transcribe(""), COMPLETED)
    assert (told["languages"], "logprobs" in told) == ([], False)


def test_speech_stopped_comes_at_most_one_frame_off_the_silence_asked_for(stage: Stage):
    stage.say(1300)
    began = stage.now
    stage.be_silent(500)
    while "input_audio_buffer.speech_stopped" not in [event["type"] for event in stage.be_silent(1)]:
        pass
    assert abs(stage.now - began - 0.55) <= FRAME_MS / 1000


def test_the_final_transcription_starts_while_the_closing_silence_runs(stage: Stage):
    stage.say(1000)
    stage.be_silent(250)
    (work,) = stage.finals()
    assert len(work.samples) / RATE == pytest.approx(1.2, abs=0.1), "the speech, and the silence so far"
    assert stage.transcribe("Hello.") == [], "nothing is told before the turn is over"
    assert [event["type"] for event in stage.be_silent(500)][-1] == "conversation.item.done"


def test_it_is_thrown_away_when_speech_goes_on(stage: Stage):
    stage.say(1000)
    stage.be_silent(250)
    stage.transcribe("Hello.")
    stage.say(1000)
    assert stage.finals() == []
    stage.be_silent(600)
    (work,) = stage.finals()
    assert len(work.samples) / RATE > 2
    assert named(stage.transcribe("Hello world."), COMPLETED)["transcript"] == "Hello world."


def test_a_running_transcription_is_stopped_when_speech_goes_on(stage: Stage):
    stage.say(1000)
    stage.be_silent(250)
    (before,) = stage.finals()
    stage.say(200)
    assert before.job not in stage.working


def test_guesses_become_deltas_while_the_person_speaks(stage: Stage):
    stage.say(1000)
    stage.transcribe(" The quick", final=False)
    stage.say(1000)
    told = stage.transcribe(" The quick brown", final=False)
    assert named(told, DELTA)["delta"] == "The quick"
    stage.be_silent(600)
    told = stage.transcribe(" The quick brown fox.")
    assert (named(told, DELTA)["delta"], named(told, COMPLETED)["transcript"]) == (
        " brown fox.",
        "The quick brown fox.",
    )


def test_guesses_take_at_most_four_fifths_of_a_slow_engines_time(stage: Stage):
    stage.say(1000)
    stage.transcribe("One", final=False, cost=4.0)
    stage.hear(900, 0.95)
    assert stage.guesses() == [], "4 s of work, then 1 s for others"
    stage.hear(500, 0.95)
    assert len(stage.guesses()) == 1


def test_a_guess_is_stopped_when_the_turn_ends(stage: Stage):
    stage.say(1000)
    assert len(stage.guesses()) == 1
    stage.be_silent(600)
    assert (stage.guesses(), len(stage.finals())) == ([], 1)


def test_the_padding_before_the_speech_is_part_of_what_is_transcribed():
    stage = Stage(type="transcription", **listening(prefix_padding_ms=500))
    stage.be_silent(2000)
    stage.say(1000)
    stage.be_silent(600)
    (work,) = stage.finals()
    assert np.count_nonzero(work.samples[: RATE // 2] < 0.5) == pytest.approx(RATE / 2, abs=1024)


def test_the_padding_never_reaches_into_the_turn_before():
    stage = Stage(type="transcription", **listening(prefix_padding_ms=2000, silence_duration_ms=200))
    stage.say(1000)
    stage.be_silent(400)
    stage.transcribe("One.")
    stage.say(1000)
    stage.be_silent(400)
    (work,) = stage.finals()
    assert np.count_nonzero(work.samples > 0.5) / RATE == pytest.approx(1.0, abs=0.1)


def test_turns_are_found_alike_however_the_audio_is_cut_up():
    def told(step_ms: float) -> list[Any]:
        stage = Stage(type="transcription")
        stage.events()
        events = []
        for _ in range(3):
            events += stage.hear(1000, 0.9, step_ms=step_ms) + stage.hear(1000, 0.02, step_ms=step_ms)
        return [
            event.get("audio_start_ms", event.get("audio_end_ms")) for event in events if "speech_st" in event["type"]
        ]

    assert told(20) == told(FRAME_MS) == told(100) == told(1000)


def test_a_long_turn_is_transcribed_in_pieces_and_told_in_order(stage: Stage):
    stage.say(20_000)
    stage.hear(100, 0.3)
    stage.say(10_000)
    (first,) = stage.finals()
    assert len(first.samples) / RATE == pytest.approx(20.05, abs=0.1), "cut where it was quietest"
    stage.be_silent(600)
    first, second = stage.finals()
    stage.session.transcribed(second.job, Written(" Second half.", 10.0))
    assert stage.names() == [], "the first half's text comes first"
    stage.session.transcribed(first.job, Written(" First half.", 20.0))
    events = stage.events()
    assert [event["delta"] for event in events if event["type"] == DELTA] == ["First half.", " Second half."]
    assert named(events, COMPLETED)["transcript"] == "First half. Second half."


def test_no_piece_is_longer_than_the_engine_takes(stage: Stage):
    seen = []
    for _ in range(100):
        stage.say(1000)
        seen += [len(work.samples) / RATE for work in stage.working.values()]
    assert max(seen) <= 30


def test_a_turn_without_end_is_ended_at_the_limit():
    stage = Stage(type="transcription", longest_turn=5)
    names = [event["type"] for event in stage.say(12_000)]
    assert names.count("input_audio_buffer.speech_stopped") == 2
    assert names.count("input_audio_buffer.speech_started") == 3


def test_hours_of_talk_leave_no_audio_and_few_items_behind():
    stage = Stage(type="transcription")
    for count in range(600):
        stage.turn(f"Turn {count}.")
    assert stage.session.pending == 0
    assert len(stage.session._conversation) <= 256  # the one thing a client cannot see
    assert stage.session._listener._audio.end - stage.session._listener._audio.start < RATE


def test_a_failed_transcription_is_told_and_the_next_turn_works(stage: Stage):
    stage.say(1000)
    stage.be_silent(600)
    (work,) = stage.finals()
    stage.session.transcription_failed(work.job, {"type": "server_error", "code": "busy", "message": "Full"})
    events = stage.events()
    assert named(events, FAILED)["error"]["code"] == "busy"
    assert "conversation.item.done" in [event["type"] for event in events]
    stage.working.clear()
    assert named(stage.turn("Again."), COMPLETED)["transcript"] == "Again."


def test_a_failed_guess_is_nobodys_business(stage: Stage):
    stage.say(1000)
    (guess,) = stage.guesses()
    stage.session.transcription_failed(guess.job, {"type": "server_error", "message": "Full"})
    assert stage.names() == []


# --- push to talk, commit and clear ---


@pytest.fixture
def push_to_talk() -> Stage:
    stage = Stage(type="transcription", audio={"input": {"turn_detection": None}})
    stage.events()
    return stage


def test_without_turn_detection_a_turn_ends_with_the_commit(push_to_talk: Stage):
    push_to_talk.say(1000)
    push_to_talk.be_silent(3000)
    push_to_talk.say(1000)
    events = push_to_talk.send("input_audio_buffer.commit")
    assert [event["type"] for event in events] == ["input_audio_buffer.committed", "conversation.item.added"]
    (work,) = push_to_talk.finals()
    assert len(work.samples) / RATE == pytest.approx(5.0, abs=0.05)
    assert named(push_to_talk.transcribe("Both."), COMPLETED)["transcript"] == "Both."


def test_silence_committed_is_an_empty_text_and_no_work(push_to_talk: Stage):
    push_to_talk.be_silent(2000)
    events = push_to_talk.send("input_audio_buffer.commit")
    assert named(events, COMPLETED)["transcript"] == ""
    assert push_to_talk.finals() == []


@pytest.mark.parametrize("ms", [0, 60])
def test_nothing_to_commit_is_an_error(push_to_talk: Stage, ms: int):
    push_to_talk.say(ms)
    error = named(push_to_talk.send("input_audio_buffer.commit", event_id="mine"), "error")["error"]
    assert (error["code"], error["event_id"]) == ("input_audio_buffer_commit_empty", "mine")


def test_a_commit_while_speaking_ends_the_turn_there(stage: Stage):
    stage.say(1000)
    names = [event["type"] for event in stage.send("input_audio_buffer.commit")]
    assert names[:2] == ["input_audio_buffer.speech_stopped", "input_audio_buffer.committed"]
    assert named(stage.transcribe("Cut."), COMPLETED)["transcript"] == "Cut."
    assert "input_audio_buffer.speech_started" in [event["type"] for event in stage.say(300)]


def test_clear_forgets_what_was_said(stage: Stage):
    stage.say(1000)
    assert [event["type"] for event in stage.send("input_audio_buffer.clear")] == ["input_audio_buffer.cleared"]
    assert stage.working == {}
    stage.be_silent(1000)
    assert stage.finals() == []


def test_a_deleted_item_is_not_transcribed_any_more(stage: Stage):
    stage.say(1000)
    item = named(stage.be_silent(700), "conversation.item.added")["item"]
    stage.send("conversation.item.delete", item_id=item["id"])
    assert (stage.finals(), stage.session.pending) == ([], 0)


def test_with_transcription_off_nothing_is_told_of_the_text():
    stage = Stage(audio={"input": {"transcription": None}})
    stage.events()
    events = stage.turn("Secret.")
    assert not [event for event in events if "transcription" in event["type"]]
