"""The session's settings, its items, and what it answers to bad events."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech_server.realtime.protocol.events import LARGEST, MOST_VALUES, ProtocolError, parse_client_event
from speech_server.realtime.protocol.outputs import ListenFor, TranscribeUpload, Written
from speech_server.realtime.state.transcripts import MAX_WAITING_AUDIO
from tests.speech_server.realtime.stage import Stage, named

SILENCE = base64.b64encode(bytes(4800)).decode()


@pytest.fixture
def stage() -> Stage:
    stage = Stage()
    stage.events()
    return stage


def update(stage: Stage, **session: Any) -> dict[str, Any]:
    shown: dict[str, Any] = named(stage.send("session.update", session=session), "session.updated")["session"]
    return shown


def test_the_first_event_describes_the_session():
    session = named(Stage().events(), "session.created")["session"]
    assert (session["type"], session["model"], session["output_modalities"]) == ("realtime", "llm", ["audio"])
    assert session["audio"]["input"]["turn_detection"] == {
        "type": "server_vad",
        "threshold": 0.5,
        "silence_duration_ms": 550,
        "prefix_padding_ms": 300,
        "create_response": True,
        "interrupt_response": True,
    }
    assert session["audio"]["input"]["format"] == {"type": "audio/pcm", "rate": 24000}


def test_an_update_changes_what_it_names_and_nothing_else(stage: Stage):
    update(stage, type="realtime", audio={"input": {"turn_detection": {"type": "server_vad", "threshold": 0.7}}})
    session = update(stage, type="realtime", instructions="Be brief.")
    turns = session["audio"]["input"]["turn_detection"]
    assert (turns["threshold"], turns["silence_duration_ms"], session["instructions"]) == (0.7, 550, "Be brief.")


def test_null_turns_turn_detection_off_and_an_object_on_again(stage: Stage):
    session = update(stage, audio={"input": {"turn_detection": None}})
    assert session["audio"]["input"]["turn_detection"] is None
    session = update(stage, audio={"input": {"turn_detection": {"type": "server_vad"}}})
    assert session["audio"]["input"]["turn_detection"]["silence_duration_ms"] == 550


@pytest.mark.parametrize(("eagerness", "waits"), [("low", 1200), ("auto", 800), ("high", 400)])
def test_semantic_vad_waits_as_eagerly_as_it_is_told(stage: Stage, eagerness: str, waits: int):
    turns = {"type": "semantic_vad", "eagerness": eagerness}
    assert update(stage, audio={"input": {"turn_detection": turns}})["audio"]["input"]["turn_detection"] == {
        **turns,
        "create_response": True,
        "interrupt_response": True,
    }
    stage.say(1000)
    began = stage.now
    while "input_audio_buffer.speech_stopped" not in [event["type"] for event in stage.be_silent(32)]:
        pass
    assert stage.now - began == pytest.approx(waits / 1000, abs=0.07)


def test_a_new_audio_format_is_for_the_audio_that_follows(stage: Stage):
    stage.obey("session.update", session={"audio": {"input": {"format": {"type": "audio/pcmu"}}}})
    (work,) = stage.work()
    assert isinstance(work, ListenFor)
    assert work.format.rate == 8000


def test_a_session_can_become_a_transcription(stage: Stage):
    assert update(stage, type="transcription")["object"] == "realtime.transcription_session"


def test_a_client_may_send_the_whole_session_back(stage: Stage):
    session = named(Stage().events(), "session.created")["session"]
    assert update(stage, **session) == session | {"id": update(stage)["id"]}


@pytest.mark.parametrize(
    ("session", "param"),
    [
        ({"audio": {"input": {"turn_detection": {"type": "psychic_vad"}}}}, "audio.input.turn_detection"),
        ({"audio": {"input": {"turn_detection": {"threshold": 7}}}}, "threshold"),
        ({"audio": {"input": {"format": {"type": "audio/mp3"}}}}, "audio.input.format"),
        ({"audio": {"input": {"transcription": {"language": "klingon"}}}}, "language"),
        ({"audio": {"output": {"speed": 9}}}, "speed"),
        ({"audio": {"input": {"transcription": {"languages": ["klingon"]}}}}, "languages"),
        ({"audio": {"input": {"noise_reduction": {"type": "loud"}}}}, "noise_reduction"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"tool_choice": {"type": "mcp", "server_label": "x"}}, "tool_choice"),
        ({"include": ["everything"]}, "include"),
        ({"audio": 7}, "audio"),
        ({"output_modalities": []}, "output_modalities"),
        ({"instrctions": "typo"}, "instrctions"),
        ({"type": "séance"}, "type"),
    ],
)
def test_a_bad_update_is_refused_whole(stage: Stage, session: dict[str, Any], param: str):
    before = update(stage)
    error = named(stage.send("session.update", session={"instructions": "No.", **session}), "error")["error"]
    assert param in error["param"]
    assert update(stage) == before


# --- items ---


def test_items_can_be_put_anywhere_retrieved_and_deleted(stage: Stage):
    def create(item_id: str, after: str | None = None) -> str | None:
        item = {
            "type": "message",
            "role": "user",
            "id": item_id,
            "content": [{"type": "input_text", "text": item_id}],
        }
        fields = {"previous_item_id": after} if after else {}
        events = stage.send("conversation.item.create", item=item, **fields)
        assert [event["type"] for event in events] == ["conversation.item.added", "conversation.item.done"]
        previous: str | None = events[0]["previous_item_id"]
        return previous

    assert [create("a"), create("b"), create("c", "a"), create("d", "root")] == [None, "a", "a", None]
    assert [item.id for item in stage.session._conversation] == ["d", "a", "c", "b"]
    retrieved = named(stage.send("conversation.item.retrieve", item_id="c"), "conversation.item.retrieved")
    assert retrieved["item"]["content"][0]["text"] == "c"
    assert named(stage.send("conversation.item.delete", item_id="c"), "conversation.item.deleted")["item_id"] == "c"
    assert named(stage.send("conversation.item.retrieve", item_id="c"), "error")["error"]["code"] == "item_not_found"


def test_audio_in_a_message_is_transcribed(stage: Stage):
    item = {"type": "message", "role": "user", "content": [{"type": "input_audio", "audio": SILENCE}]}
    stage.obey("conversation.item.create", item=item)
    (work,) = stage.work()
    assert isinstance(work, TranscribeUpload)
    assert "audio" not in str(stage.names())
    stage.session.transcribed(work.job, Written("From a file.", 3.5))
    events = stage.events()
    completed = named(events, "conversation.item.input_audio_transcription.completed")
    assert (completed["transcript"], completed["usage"]["seconds"]) == ("From a file.", 3.5)
    assert named(events, "conversation.item.done")["item"]["content"] == [
        {"type": "input_audio", "transcript": "From a file."}
    ]


def create(stage: Stage, *audio: str, role: str = "user", **item: Any) -> list[dict[str, Any]]:
    kind = "output_audio" if role == "assistant" else "input_audio"
    text = {"type": "output_text" if role == "assistant" else "input_text", "text": "Hear:"}
    content = [text, *({"type": kind, "audio": one} for one in audio)]
    stage.obey("conversation.item.create", item={"type": "message", "role": role, "content": content, **item})
    return stage.session.take_events()


def test_audio_in_any_part_is_transcribed_told_of_in_its_place_and_not_kept(stage: Stage):
    added = create(stage, SILENCE, SILENCE, id="item_1")
    assert [event["type"] for event in added] == ["conversation.item.added"]
    (work,) = stage.work()
    assert isinstance(work, TranscribeUpload)
    assert work.audio == (SILENCE, SILENCE)
    (item,) = stage.session._conversation
    assert [part.audio for part in item.content] == [None, None, None]  # type: ignore[union-attr]
    stage.session.transcribed(work.job, Written("Both parts.", 0.2))
    events = stage.events()
    assert {event["content_index"] for event in events if "content_index" in event} == {1}
    content = named(events, "conversation.item.done")["item"]["content"]
    assert content[1:] == [{"type": "input_audio", "transcript": "Both parts."}, {"type": "input_audio"}]


def test_audio_whose_transcription_fails_is_not_kept_either(stage: Stage):
    create(stage, SILENCE)
    (work,) = stage.work()
    assert isinstance(work, TranscribeUpload)
    stage.session.transcription_failed(work.job, {"type": "server_error", "message": "Full"})
    (item,) = stage.session._conversation
    assert SILENCE not in item.model_dump_json()


def test_an_assistants_own_audio_is_dropped(stage: Stage):
    events = create(stage, SILENCE, role="assistant")
    assert [event["type"] for event in events] == ["conversation.item.added", "conversation.item.done"]
    assert stage.work() == []
    (item,) = stage.session._conversation
    assert SILENCE not in item.model_dump_json()


def test_audio_waiting_for_its_text_is_bounded(stage: Stage):
    large = "A" * (MAX_WAITING_AUDIO // 2 - 1000)
    create(stage, large)
    create(stage, large)
    works = stage.work()
    (refused,) = create(stage, large)
    assert refused["error"]["code"] == "audio_too_large"
    assert (stage.work(), len(stage.session._conversation)) == ([], 2)
    assert isinstance(works[0], TranscribeUpload)
    stage.session.transcribed(works[0].job, Written("Text.", 1.0))
    stage.session.take_events()
    assert create(stage, large)[0]["type"] == "conversation.item.added"


def test_the_item_before_is_told_whenever_it_is_known(stage: Stage):
    create(stage, id="a")
    create(stage, SILENCE, id="b")
    (work,) = stage.work()
    assert isinstance(work, TranscribeUpload)
    stage.session.transcribed(work.job, Written("Text.", 1.0))
    assert named(stage.events(), "conversation.item.done")["previous_item_id"] == "a"
    done = named(stage.turn("Words."), "conversation.item.done")
    assert done["previous_item_id"] == "b"


@pytest.mark.parametrize("language", ["auto", "AUTO", " auto "])
def test_a_language_that_is_to_be_found_out_is_none(stage: Stage, language: str):
    session = update(stage, audio={"input": {"transcription": {"language": language}}})
    assert "language" not in session["audio"]["input"]["transcription"]


# --- bad events ---


def test_a_message_of_very_many_values_is_not_even_read():
    with pytest.raises(ProtocolError) as refused:
        parse_client_event('{"type":"session.update","session":{"tools":[' + "1," * MOST_VALUES + "1]}}")
    assert refused.value.code == "event_too_large"


def test_only_audio_makes_a_large_event():
    with pytest.raises(ProtocolError) as refused:
        parse_client_event(json.dumps({"type": "session.update", "session": {"instructions": "x" * LARGEST}}))
    assert refused.value.code == "event_too_large"
    parse_client_event(json.dumps({"type": "input_audio_buffer.append", "audio": "A" * LARGEST}))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "invalid_json"),
        ("{", "invalid_json"),
        ("[]", "invalid_json"),
        ("7", "invalid_json"),
        ("[" * 100_000, "invalid_json"),
        ('{"type": "session.update", "session": {"tracing": %s}}' % ('{"a":' * 300 + "1" + "}" * 300), "invalid_json"),
        ("{}", "missing_type"),
        ('{"type": 7}', "missing_type"),
        ('{"type": "conversation.item.dance"}', "unknown_event"),
        ('{"type": "input_audio_buffer.append"}', "invalid_value"),
        ('{"type": "input_audio_buffer.append", "audio": 7}', "invalid_value"),
        ('{"type": "conversation.item.create"}', "invalid_value"),
        ('{"type": "conversation.item.create", "item": {"type": "mcp_call"}}', "invalid_value"),
        ('{"type": "conversation.item.truncate", "item_id": "x", "audio_end_ms": -1}', "invalid_value"),
        ('{"type": "response.create", "response": {"output_modalities": ["smell"]}}', "invalid_value"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(text: str, code: str):
    with pytest.raises(ProtocolError) as refused:
        parse_client_event(text)
    assert refused.value.code == code


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    ),
    st.sampled_from(["session.update", "conversation.item.create", "response.create", "response.cancel", "x"]),
    st.sampled_from(["session", "item", "response", "response_id", "event_id"]),
)
def test_no_event_whatever_it_holds_breaks_the_session(value: Any, kind: str, field: str):
    stage = Stage()
    stage.send(kind, **{field: value})
    assert named(stage.turn("Alive."), "conversation.item.input_audio_transcription.completed")


@pytest.mark.parametrize(
    ("event", "code"),
    [
        ({"type": "conversation.item.retrieve", "item_id": "nobody"}, "item_not_found"),
        ({"type": "conversation.item.delete", "item_id": "nobody"}, "item_not_found"),
        ({"type": "conversation.item.truncate", "item_id": "nobody", "audio_end_ms": 1}, "item_not_found"),
        ({"type": "response.cancel"}, "response_cancel_not_active"),
        ({"type": "response.cancel", "response_id": "other"}, "response_cancel_not_active"),
        ({"type": "output_audio_buffer.clear"}, "output_audio_buffer_empty"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_clients_own_event_id(stage: Stage, event: dict[str, Any], code: str):
    error = named(stage.send(**{"kind": event.pop("type"), "event_id": "evt_1", **event}), "error")["error"]
    assert (error["code"], error["event_id"], error["type"]) == (code, "evt_1", "invalid_request_error")
