"""Who speaks in a session is known again in later turns; however many do, it does not grow without end."""

from __future__ import annotations

import numpy as np
import pytest

from speech_server.domain import Person, Segment
from speech_server.realtime.protocol.outputs import WhoSaid
from speech_server.realtime.state.people import MOST_PEOPLE, People
from speech_server.realtime.state.utterance import LONGEST_PIECE
from tests.speech_server.realtime.stage import Stage, named

APART = 0.26
SEGMENT = "conversation.item.input_audio_transcription.segment"
COMPLETED = "conversation.item.input_audio_transcription.completed"


def person(name: str, *voice: float, seconds: float = 3.0) -> Person:
    """A voice that is mostly the first number's, and so on."""
    padded = np.zeros(MOST_PEOPLE + 8, np.float32)
    padded[: len(voice)] = voice
    return Person(name, seconds, padded / np.linalg.norm(padded))


def heard(*people: Person, apart: float = APART, met: frozenset[str] = frozenset()) -> WhoSaid:
    return WhoSaid((), people, apart, met)


def one_of_many(number: int, seconds: float = 3.0) -> Person:
    return person("A", *([0.0] * number), 1.0, seconds=seconds)


def test_a_stays_a():
    people = People()
    assert people.named(heard(person("A", 1, 0.1))) == {"A": "A"}
    assert people.named(heard(person("A", 0.1, 1))) == {"A": "B"}
    assert people.named(heard(person("A", 0, 1, 0.2), person("B", 1, 0, 0.2))) == {"A": "B", "B": "A"}
    assert people.latest == "A"


def test_one_person_whose_voice_was_cut_in_two_is_one():
    people = People()
    assert people.named(heard(person("A", 1, 0.1), person("B", 1, -0.4))) == {"A": "A", "B": "A"}


def test_a_word_or_two_are_nobody_new():
    people = People()
    people.named(heard(person("A", 1)))
    assert people.named(heard(person("A", 0, 1, seconds=1.0))) == {"A": "A"}
    assert people.named(heard(person("A", 0, 1, seconds=2.0))) == {"A": "B"}


def test_what_is_short_may_be_further_from_what_it_was_before():
    away = np.array([1, np.tan(np.arccos(1 - 1.1 * APART))])
    people = People()
    people.named(heard(person("A", 1)))
    assert people.named(heard(person("A", *away, seconds=4))) == {"A": "A"}
    people = People()
    people.named(heard(person("A", 1)))
    assert people.named(heard(person("A", *away, seconds=9))) == {"A": "B"}


def test_who_was_met_is_who_they_were_said_to_be():
    people = People()
    people.named(heard(person("A", 1), person("B", 0, 1)))
    met = people.met
    assert [(one.name, one.seconds) for one in met.people] == [("A", 3.0), ("B", 3.0)]
    people.named(heard(person("C", 0, 0, 1)))  # meanwhile
    names = people.named(heard(person("B", 0, 0, 0, 1), person("C", 0, 0, 0, 0, 1), met=met.names))
    assert names == {"B": "B", "C": "D"}
    assert [one.seconds for one in people.met.people] == [3.0, 6.0, 3.0, 3.0]


def test_another_encoder_begins_anew():
    people = People()
    people.named(heard(person("A", 1), person("B", 0, 1)))
    assert people.named(heard(Person("A", 3.0, np.array([0, 1], np.float32)), apart=0.5)) == {"A": "A"}


def test_the_voices_of_a_session_are_bounded():
    people = People()
    for number in range(MOST_PEOPLE + 5):
        people.named(heard(one_of_many(number)))
    assert len(people._voices) == MOST_PEOPLE
    assert people.named(heard(one_of_many(3))) == {"A": "D"}


@pytest.fixture
def stage() -> Stage:
    stage = Stage(type="transcription", audio={"input": {"transcription": {"model": "gpt-4o-transcribe-diarize"}}})
    stage.events()
    return stage


def spoken(*said: tuple[str, str], people: tuple[Person, ...]) -> WhoSaid:
    """A segment a second."""
    segments = (Segment(at, at + 1.0, f" {text}", speaker=who) for at, (who, text) in enumerate(said))
    return WhoSaid(tuple(segments), people, APART)


def speak(stage: Stage, text: str, told: WhoSaid) -> list[dict[str, object]]:
    return [*stage.say(1000), *stage.be_silent(800), *stage.transcribe(text, spoken=told)]


def test_segments_with_their_speakers_come_before_the_whole_text(stage: Stage):
    anna, bert = person("A", 1), person("B", 0, 1)
    events = speak(stage, "Yes. No.", spoken(("A", "Yes."), ("B", "No."), people=(anna, bert)))
    segments = [event for event in events if event["type"] == SEGMENT]
    assert [(event["speaker"], event["text"], event["start"], event["end"]) for event in segments] == [
        ("A", "Yes.", 0.0, 1.0), ("B", "No.", 1.0, 2.0),
    ]  # fmt: skip
    done = named(events, COMPLETED)
    assert events.index(done) > events.index(segments[-1])
    assert {event["item_id"] for event in segments} == {done["item_id"]}
    assert len({event["id"] for event in segments}) == 2
    events = speak(stage, "Well.", spoken(("A", "Well."), people=(person("A", 0.1, 1),)))
    assert named(events, SEGMENT)["speaker"] == "B"


def test_who_was_not_heard_is_whoever_spoke_last(stage: Stage):
    assert named(speak(stage, "Hm.", WhoSaid((Segment(0, 1, " Hm."),), (), APART)), SEGMENT)["speaker"] == "A"
    speak(stage, "Yes. No.", spoken(("A", "Yes."), ("B", "No."), people=(person("A", 1), person("B", 0, 1))))
    assert named(speak(stage, "Hm.", WhoSaid((Segment(0, 1, " Hm."),), (), APART)), SEGMENT)["speaker"] == "B"


def test_times_of_a_long_turn_are_the_item_s(stage: Stage):
    stage.say(LONGEST_PIECE / 16 + 3000)
    first, second = spoken(("A", "One."), people=(person("A", 1),)), spoken(("A", "Two."), people=(person("A", 1),))
    stage.transcribe("One.", spoken=first)
    events = [*stage.be_silent(800), *stage.transcribe(" Two.", spoken=second)]
    starts = [event["start"] for event in events if event["type"] == SEGMENT]
    assert starts[0] == 0.0
    assert 12 < starts[1] < 26


def test_a_text_that_is_thrown_away_tells_of_nobody(stage: Stage):
    """Speech that goes on after a short silence: the piece's first text, and who was heard in it, count for nothing."""
    stage.say(1000)
    stage.be_silent(300)
    stage.transcribe("Yes,", spoken=spoken(("A", "Yes,"), people=(person("A", 1),)))
    events = speak(stage, "Yes, but.", spoken(("A", "Yes, but."), people=(person("A", 0, 1),)))
    assert named(events, SEGMENT)["speaker"] == "A"


def test_other_models_name_nobody():
    stage = Stage(type="transcription")
    stage.events()
    assert SEGMENT not in [event["type"] for event in stage.turn("Hello.")]
