"""A translation session: texts that only grow, in the order in which they were said, and sentences to be spoken."""

from __future__ import annotations

from typing import Any

import pytest

from speech_server.realtime.protocol.outputs import Written
from speech_server.realtime.protocol.translation import TRANSLATION
from tests.speech_server.realtime.stage import Stage, named

OUTPUT, INPUT, AUDIO = (
    "session.output_transcript.delta",
    "session.input_transcript.delta",
    "session.output_audio.delta",
)


def begun(*, source: bool = False, voice: dict[str, Any] | None = None, **more: Any) -> Stage:
    audio = TRANSLATION.audio.model_dump()
    audio["output"] |= voice or {}
    if source:
        audio["input"]["transcription"] = {"model": "whisper-1"}
    stage = Stage(type="translation", audio=audio, **more)
    assert named(stage.events(), "session.created")["session"]["type"] == "translation"
    return stage


def text(events: list[dict[str, Any]], kind: str = OUTPUT) -> str:
    return "".join(event["delta"] for event in events if event["type"] == kind)


def answer(stage: Stage, job: int, english: str, source: str = "") -> list[dict[str, Any]]:
    del stage.working[job]
    stage.session.transcribed(job, Written(english, 1.0, source=source))
    return stage.events()


def refusal(events: list[dict[str, Any]]) -> tuple[str, str]:
    error = named(events, "error")["error"]
    return error["param"], error["message"]


def test_english_comes_while_the_person_speaks_and_is_only_appended_to():
    stage = begun()
    stage.say(1000)
    assert stage.transcribe(" Madrid is", final=False) == []
    stage.say(1000)
    growing = stage.transcribe(" Madrid is the capital", final=False)
    assert text(growing) == "Madrid is"
    assert stage.be_silent(800) == []
    rest = stage.transcribe(" Madrid is the capital of Spain.")
    assert text(rest) == " the capital of Spain."
    assert {event["elapsed_ms"] % 200 for event in growing + rest} == {0}


def test_the_next_turn_goes_on_behind_a_space():
    stage = begun()
    assert text(stage.turn(" Good morning.")) == "Good morning."
    assert text(stage.turn(" How are you?")) == " How are you?"


def test_the_words_it_is_of_are_shown_where_they_are_asked_for():
    stage = begun(source=True)
    events = [*stage.say(1000), *stage.be_silent(800)]
    assert stage.finals()[0].source.model == "whisper-1"
    events += stage.transcribe(" Good morning.", source=" Buenos días.")
    assert (text(events, INPUT), text(events)) == ("Buenos días.", "Good morning.")
    stage = begun()
    stage.say(1000), stage.be_silent(800)
    assert stage.finals()[0].source is None


def test_a_turn_that_is_translated_first_waits_for_those_before_it():
    stage = begun()
    for _ in range(2):
        stage.say(1000), stage.be_silent(800)
    first, second = (work.job for work in stage.finals())
    assert answer(stage, second, " How are you?") == []
    assert text(answer(stage, first, " Good morning.")) == "Good morning. How are you?"


def test_a_turn_that_cannot_be_translated_is_an_error_and_the_next_one_goes_on():
    stage = begun()
    stage.say(1000), stage.be_silent(800)
    (work,) = stage.finals()
    del stage.working[work.job]
    stage.session.transcription_failed(work.job, {"type": "server_error", "code": "x", "message": "m", "param": None})
    assert named(stage.events(), "error")["error"]["message"] == "m"
    assert text(stage.turn(" How are you?")) == "How are you?"


def test_a_turn_that_is_dropped_holds_nothing_up():
    stage = begun()
    stage.say(1000)
    stage.transcribe(" Good", final=False)
    stage.say(1000)
    assert text(stage.transcribe(" Good morning", final=False)) == "Good"
    stage.send("session.update", session={"audio": {"input": {"turn_detection": {"threshold": 0.6}}}})
    assert text(stage.turn(" How are you?")) == " How are you?"


def test_each_sentence_is_spoken_as_soon_as_it_is_whole():
    stage = begun(voice={"voice": "joe", "model": "piper"})
    for guess in (" Good morning.", " Good morning. How"):
        stage.say(1000)
        stage.transcribe(guess, final=False)
    stage.be_silent(800)
    stage.transcribe(" Good morning. How are you?")
    assert [work.text for work in stage.pronouncing] == ["Good morning. ", "How are you?"]
    assert {(work.voice.voice, work.voice.model) for work in stage.pronouncing} == {("joe", "piper")}
    stage.session.pronouncing(stage.pronouncing[0], "AAAA")
    sound = named(stage.events(), AUDIO)
    assert (sound["delta"], sound["format"], sound["sample_rate"], sound["channels"]) == ("AAAA", "pcm16", 24_000, 1)


def test_without_audio_nothing_is_spoken():
    stage = begun(output_modalities=["text"])
    assert text(stage.turn(" Good morning. How are you?"))
    assert stage.pronouncing == []


def test_sentences_that_are_not_spoken_yet_count_as_pending():
    stage = begun()
    stage.turn(" Good morning.")
    assert stage.session.pending == 1
    stage.session.pronounced()
    assert stage.session.pending == 0


def test_a_voice_that_fails_is_an_error_and_holds_nothing_up():
    stage = begun()
    stage.turn(" Good morning.")
    stage.session.pronounced({"type": "server_error", "code": "x", "message": "m", "param": None})
    assert named(stage.events(), "error")["error"]["message"] == "m"
    assert named(stage.send("session.close"), "session.closed")


def test_closing_waits_for_what_was_said_and_for_its_sound():
    stage = begun()
    stage.say(1000)
    assert stage.send("session.close") == []
    assert [*stage.say(1000), *stage.be_silent(800)] == []  # what comes later is not heard
    assert len(stage.finals()) == 1
    assert [event["type"] for event in stage.transcribe(" Good morning.")] == [OUTPUT]
    assert not stage.session.closed
    stage.session.pronounced()
    assert stage.names() == ["session.closed"]
    assert stage.session.closed


def test_closing_when_nothing_was_said_is_at_once():
    assert named(begun().send("session.close"), "session.closed")


def test_settings_can_change_while_it_lasts():
    stage = begun()
    output = {"language": "en-GB", "voice": "joe"}
    patch = {"audio": {"output": output, "input": {"transcription": {"model": "gpt-transcribe"}}}}
    shown = named(stage.send("session.update", session=patch), "session.updated")["session"]
    assert shown["audio"]["output"]["language"] == "en"
    assert shown["audio"]["input"]["transcription"] == {"model": "gpt-transcribe"}
    stage.say(1000), stage.be_silent(800)
    assert stage.finals()[0].source.model == "gpt-transcribe"
    stage.transcribe(" Good morning.")
    assert stage.pronouncing[0].voice.voice == "joe"


@pytest.mark.parametrize(
    ("patch", "param", "why"),
    [
        ({"audio": {"output": {"language": "es"}}}, "audio.output.language", "into English only"),
        ({"model": "another"}, "session.model", "another connection"),
        ({"type": "realtime"}, "session.type", "another connection"),
        ({"tools": []}, "session.tools", "has no 'tools'"),
        ({"audio": {"input": {"turn_detection": None}}}, "", "finds the turns itself"),
        ({"audio": {"input": {"transcription": {"model": "gpt-4o-transcribe-diarize"}}}}, "", "who speaks"),
        ({"audio": {"output": {"format": {"type": "audio/pcmu"}}}}, "", "audio/pcm"),
    ],
)
def test_what_it_cannot_do_is_refused_with_the_reason(patch: dict[str, Any], param: str, why: str):
    told = refusal(begun().send("session.update", session=patch))
    assert told[0].endswith(param)
    assert why in told[1]


@pytest.mark.parametrize("kind", ["response.create", "input_audio_buffer.commit", "input_audio_buffer.clear"])
def test_events_of_other_sessions_are_refused(kind: str):
    assert kind in refusal(begun().send(kind))[1]


def test_other_sessions_know_neither_its_end_nor_its_language_nor_its_type():
    stage = Stage()
    stage.events()
    assert "session.close" in refusal(stage.send("session.close"))[1]
    for patch in ({"type": "translation"}, {"audio": {"output": {"language": "en"}}}):
        assert "/v1/realtime/translations" in refusal(stage.send("session.update", session=patch))[1]
