"""People of pieces become people of the recording: the same person has one name, whoever is whoever in each piece."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from endpoint.bulk.people import Speakers, named, people_of, piece_fields, speakers_in, without_speakers
from endpoint.errors import Refused
from speech_server.domain import EVERYBODY, Count, Likeness, Person
from speech_server.transcript.formats import voices

LIKENESS = Likeness(apart=0.26, few_apart=0.24)
ANYBODY = Speakers(EVERYBODY, frozenset(), voices=False)
ANNA, BEN, CLARA, DAN = range(4)


def person(name: str, who: int, seconds: float = 20.0, odd: float = 0.1, seed: int = 0) -> Person:
    """Somebody's voice: an axis of their own, and what differs from day to day."""
    noise = np.random.default_rng(10 * who + seed).normal(0, 1, 16)
    voice = np.eye(16)[who] + odd * noise / np.linalg.norm(noise)
    return Person(name, seconds, (voice / np.linalg.norm(voice)).astype(np.float32))


def called(*pieces: list[Person], speakers: Speakers = ANYBODY) -> list[dict[str, str]]:
    return people_of(pieces, LIKENESS, speakers)[0]


def known(*names: str) -> Speakers:
    return Speakers(EVERYBODY, frozenset(names), voices=False)


def test_the_same_voice_is_the_same_letter_in_every_piece():
    names = called(
        [person("A", ANNA), person("B", BEN)],
        [person("A", BEN, seed=1), person("B", CLARA), person("C", ANNA, seed=1)],
        [],
        [person("A", CLARA, seed=1)],
    )
    assert names == [{"A": "A", "B": "B"}, {"A": "B", "B": "C", "C": "A"}, {}, {"A": "C"}]


def test_who_is_new_in_a_later_piece_is_the_next_letter():
    assert called([person("A", DAN)], [person("A", ANNA), person("B", DAN, seed=1)]) == [
        {"A": "A"},
        {"A": "B", "B": "A"},
    ]


def test_a_few_seconds_are_somebody_where_their_voice_goes_on_in_another_piece():
    names = called([person("A", ANNA), person("B", BEN, 1.0)], [person("A", BEN, 30.0, seed=1)])
    assert names == [{"A": "A", "B": "B"}, {"A": "B"}]


def test_how_many_there_are_is_decided_over_all_pieces():
    pieces = [person("A", ANNA), person("B", BEN)], [person("A", CLARA)]
    two = Speakers(Count(2, 2), frozenset(), voices=False)
    assert len({name for piece in called(*pieces, speakers=two) for name in piece.values()}) == 2


def test_who_is_known_keeps_the_name_and_gives_it_to_the_same_voice():
    """In one piece the reference was not enough; and two who are known are two, however alike."""
    names = called(
        [person("Anna", ANNA), person("A", BEN)],
        [person("A", ANNA, seed=1), person("Twin", ANNA, seed=2)],
        [person("A", BEN, seed=1), person("Anna", ANNA, odd=0.9, seed=3)],
        speakers=known("Anna", "Twin", "Nobody"),
    )
    assert [piece.get("Anna") for piece in names] == ["Anna", None, "Anna"]
    assert names[1]["Twin"] == "Twin"
    assert names[1]["A"] in ("Anna", "Twin")
    assert names[0]["A"] == names[2]["A"] == "A"


def test_who_is_known_is_one_person_however_odd_the_voice_was():
    two = Speakers(Count(2, 2), frozenset({"Anna"}), voices=False)
    names = called(
        [person("Anna", ANNA), person("A", BEN)], [person("A", BEN, seed=1)], [person("Anna", DAN)], speakers=two
    )
    assert names == [{"Anna": "Anna", "A": "A"}, {"A": "A"}, {"Anna": "Anna"}]


def test_no_letter_is_the_name_of_somebody_who_is_known():
    assert called([person("B", BEN)], [person("B", CLARA)], speakers=known("A", "C")) == [{"B": "B"}, {"B": "D"}]


def test_a_recording_of_one_piece_is_left_as_it_is():
    """The server has counted already, and may have good reasons to tell apart what is alike."""
    assert called([person("A", ANNA), person("B", ANNA, seed=1)]) == [{"A": "A", "B": "B"}]


def test_their_voices_are_the_mean_of_what_was_heard():
    _, whole = people_of([[person("A", ANNA, 10.0)], [person("A", ANNA, 30.0, seed=1)]], LIKENESS, ANYBODY)
    (one,) = whole
    expected = 0.25 * person("A", ANNA).voice + 0.75 * person("A", ANNA, seed=1).voice
    assert (one.name, one.seconds) == ("A", 40.0)
    assert one.voice == pytest.approx(expected, abs=1e-6)


# --- answers ---


def body(*people: Person, encoder: str = "ge2e") -> dict[str, Any]:
    segments = [{"text": f" {each.name}", "speaker": each.name} for each in people]
    words = [{"word": each.name, "speaker": each.name} for each in people]
    return {"segments": segments, "words": words, **voices(people, encoder, LIKENESS)}


def test_segments_and_words_are_renamed():
    bodies, told = named([body(person("A", ANNA)), body(person("A", BEN), person("B", ANNA))], ANYBODY)
    assert [[entry["speaker"] for entry in each["segments"]] for each in bodies] == [["A"], ["B", "A"]]
    assert [[entry["speaker"] for entry in each["words"]] for each in bodies] == [["A"], ["B", "A"]]
    assert told == {}


def test_who_asked_for_the_voices_has_them():
    wanted = Speakers(EVERYBODY, frozenset(), voices=True)
    _, told = named([body(person("A", ANNA)), body(person("A", BEN))], wanted)
    assert [entry["speaker"] for entry in told["speakers"]] == ["A", "B"]
    assert told["speaker_encoder"] == {"model": "ge2e", "apart": 0.26, "few_apart": 0.24, "few": 5.0, "least": 1.5}


def test_silence_has_nobody():
    assert named([body(), body()], ANYBODY) == ([body(), body()], {})


def test_voices_of_two_encoders_are_not_compared():
    with pytest.raises(Refused, match="two voice encoders, ge2e and other"):
        named([body(person("A", ANNA)), body(person("A", ANNA), encoder="other")], ANYBODY)


def test_a_server_that_tells_no_voices_is_told_so():
    with pytest.raises(Refused, match="older than this command"):
        named([{"segments": [], "words": None, "speakers": []}], ANYBODY)


@pytest.mark.parametrize(
    "odd", [{"seconds": 0}, {"seconds": -1}, {"embedding": [0.0] * 16}, {"embedding": [math.nan] * 16}], ids=str
)
def test_a_voice_of_which_nothing_was_heard_is_no_answer(odd: dict[str, Any]):
    """It is like nobody's, and like everybody's: all who are compared with it would be mixed up."""
    answer = body(person("A", BEN))
    answer["speakers"][0] |= odd
    with pytest.raises(ValueError, match="speaker A has no voice"):
        named([body(person("A", ANNA)), answer], ANYBODY)


def test_more_people_than_were_heard_is_a_bad_request():
    many = Speakers(Count(5, 5), frozenset(), voices=False)
    with pytest.raises(Refused, match="5 speakers are asked for, and there is speech enough for 1") as refused:
        named([body(person("A", ANNA)), body()], many)
    assert refused.value.status == 400


# --- what is asked ---


@pytest.mark.parametrize("fields", [{"diarize": True}, {"diarize": "true"}, {"diarize": "1"}])
def test_speakers_are_asked_for_in_json_and_in_forms(fields: dict[str, Any]):
    assert speakers_in(fields, "text") == ANYBODY
    assert speakers_in({"diarize": "false"}, "diarized_json") == ANYBODY


@pytest.mark.parametrize("fields", [{}, {"diarize": False}, {"diarize": "no"}, {"diarize": ""}])
def test_or_not(fields: dict[str, Any]):
    assert speakers_in(fields, "text") is None


def test_how_many_and_whose_names():
    fields = {"diarize": "true", "min_speakers": "2", "max_speakers": 4, "speaker_embeddings": "true"}
    names = {"known_speaker_names": ["Anna", "Ben"]}
    assert speakers_in(fields | names, "json") == Speakers(Count(2, 4), frozenset({"Anna", "Ben"}), voices=True)
    assert speakers_in({**fields, "known_speaker_names": "Anna, Ben"}, "json") == speakers_in(fields | names, "json")


@pytest.mark.parametrize(
    "wrong",
    [{"diarize": "maybe"}, {"num_speakers": "two"}, {"num_speakers": 0}, {"num_speakers": 2, "min_speakers": 2},
     {"min_speakers": 3, "max_speakers": 2}, {"num_speakers": 2.5}, {"max_speakers": 101}],
)  # fmt: skip
def test_nonsense_is_no_request(wrong: dict[str, Any]):
    with pytest.raises(ValueError, match=r".+"):
        speakers_in({"diarize": True, **wrong}, "json")


def test_a_piece_is_asked_for_voices_and_not_for_a_number_that_is_the_whole_s():
    fields = {"model": "m", "diarize": "true", "num_speakers": 3, "known_speaker_names": ["Anna"]}
    asked = piece_fields(fields, "srt", is_alone=False)
    assert asked == {
        "model": "m", "diarize": True, "speaker_embeddings": True, "known_speaker_names": ["Anna"],
        "timestamp_granularities": ["segment", "word"],
    }  # fmt: skip
    assert piece_fields(fields, "json", is_alone=True)["num_speakers"] == 3
    assert without_speakers(fields) == {"model": "m"}
