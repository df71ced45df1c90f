"""Responses: when one begins, how it is told, what interrupts it, and what the conversation remembers of it."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from speech_server.realtime.protocol.outputs import StopWork
from tests.speech_server.realtime.stage import Stage, named

SOUND = base64.b64encode(bytes(9600)).decode()  # 200 ms


@pytest.fixture
def stage() -> Stage:
    stage = Stage(instructions="Be kind.")
    stage.events()
    return stage


def speak(stage: Stage, *sentences: str, sound_ms: float = 1000) -> list[dict[str, Any]]:
    """The language model says these sentences, and each is spoken."""
    response = stage.generating[-1].response_id
    for sentence in sentences:
        stage.session.reply_text(response, sentence)
    for index, sentence in enumerate(sentences):
        start, end = index * sound_ms, (index + 1) * sound_ms
        stage.session.reply_audio(response, SOUND, sentence, start, (start + end) / 2)
        stage.session.reply_audio(response, SOUND, sentence, start, end)
    return stage.events()


def finish(stage: Stage, reason: str = "stop") -> list[dict[str, Any]]:
    stage.session.reply_done(stage.generating[-1].response_id, reason, None)
    return stage.events()


def ask(stage: Stage, text: str = "How are you?") -> None:
    stage.turn(text)
    assert stage.generating


def test_a_turn_is_answered_once_its_text_is_known(stage: Stage):
    stage.say(1000)
    assert "response.created" not in [event["type"] for event in stage.be_silent(700)]
    events = [event["type"] for event in stage.transcribe("How are you?")]
    assert events[-2:] == ["response.created", "rate_limits.updated"]
    assert stage.generating[0].body == {
        "model": "llm",
        "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "How are you?"}],
        "stream": True,
    }


def test_a_spoken_reply_is_told_in_the_documented_order(stage: Stage):
    ask(stage)
    names = [event["type"] for event in [*speak(stage, "Fine."), *finish(stage)]]
    assert names == [
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_audio_transcript.delta",
        "response.output_audio.delta",
        "response.output_audio.delta",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "response.output_item.done",
        "conversation.item.done",
        "response.done",
    ]


def test_a_text_reply_has_no_sound(stage: Stage):
    stage.send("session.update", session={"output_modalities": ["text"]})
    ask(stage)
    assert stage.generating[0].voice is None
    stage.session.reply_text(stage.generating[0].response_id, "Fine, thanks.")
    events = [*stage.events(), *finish(stage)]
    assert named(events, "response.output_text.done")["text"] == "Fine, thanks."
    response = named(events, "response.done")["response"]
    assert (response["output_modalities"], response["status"]) == (["text"], "completed")


def test_usage_is_the_language_models_own_count(stage: Stage):
    ask(stage)
    usage = {
        "total_tokens": 12,
        "input_tokens": 7,
        "output_tokens": 5,
        "input_token_details": {"text_tokens": 7, "audio_tokens": 0, "cached_tokens": 0},
        "output_token_details": {"text_tokens": 5, "audio_tokens": 0},
    }
    stage.session.reply_done(stage.generating[0].response_id, "stop", usage)
    assert named(stage.events(), "response.done")["response"]["usage"] == usage


def test_the_next_question_knows_the_answer_before(stage: Stage):
    ask(stage, "Who are you?")
    speak(stage, "I am ", "nobody.")
    finish(stage)
    ask(stage, "Really?")
    assert [message["content"] for message in stage.generating[-1].body["messages"]] == [
        "Be kind.",
        "Who are you?",
        "I am nobody.",
        "Really?",
    ]


def test_a_noise_that_is_no_words_is_not_answered(stage: Stage):
    stage.turn("")
    assert stage.generating == []


@pytest.mark.parametrize("turns", [{"type": "server_vad", "create_response": False}, None])
def test_a_session_may_choose_to_answer_only_when_asked(stage: Stage, turns: dict[str, Any] | None):
    stage.send("session.update", session={"audio": {"input": {"turn_detection": turns}}})
    stage.say(1000)
    stage.be_silent(700)
    if turns is None:
        stage.send("input_audio_buffer.commit")
    stage.transcribe("Hello?")
    assert stage.generating == []
    stage.send("response.create")
    assert stage.generating[0].body["messages"][-1]["content"] == "Hello?"


def test_an_answer_asked_for_waits_for_the_transcript(stage: Stage):
    stage.send("session.update", session={"audio": {"input": {"turn_detection": None}}})
    stage.say(1000)
    stage.send("input_audio_buffer.commit")
    assert "response.created" in [event["type"] for event in stage.send("response.create")]
    assert stage.generating == []
    stage.transcribe("Now.")
    assert stage.generating[0].body["messages"][-1]["content"] == "Now."


def test_a_response_may_read_items_of_the_conversation_by_their_ids(stage: Stage):
    stage.turn("Not this.")
    finish(stage)
    item = {"type": "message", "role": "user", "id": "item_1", "content": [{"type": "input_text", "text": "This."}]}
    stage.send("conversation.item.create", item=item)
    stage.send("response.create", response={"input": [{"type": "item_reference", "id": "item_1"}]})
    assert [m["content"] for m in stage.generating[-1].body["messages"]] == ["Be kind.", "This."]


def test_a_reference_is_read_when_its_text_is_known(stage: Stage):
    stage.send("session.update", session={"audio": {"input": {"turn_detection": None}}})
    stage.say(1000)
    item = named(stage.send("input_audio_buffer.commit"), "input_audio_buffer.committed")["item_id"]
    stage.send("response.create", response={"input": [{"type": "item_reference", "id": item}]})
    assert stage.generating == []
    stage.transcribe("Now.")
    assert stage.generating[0].body["messages"][-1]["content"] == "Now."


def test_a_reference_to_nothing_is_refused_and_begins_no_response(stage: Stage):
    refused = stage.send("response.create", response={"input": [{"type": "item_reference", "id": "gone"}]})
    assert [event["error"]["code"] for event in refused] == ["item_not_found"]
    assert named(stage.send("response.create"), "response.created")


def test_how_hard_to_think_and_how_to_call_goes_to_the_language_model(stage: Stage):
    tool = {"type": "function", "name": "clock"}
    stage.send("session.update", session={"reasoning": {"effort": "low"}, "tools": [tool], "parallel_tool_calls": True})
    stage.send("response.create", response={"parallel_tool_calls": False})
    body = stage.generating[0].body
    assert (body["reasoning_effort"], body["parallel_tool_calls"]) == ("low", False)


def test_what_one_response_does_differently_is_for_it_alone(stage: Stage):
    stage.send(
        "response.create",
        response={
            "conversation": "none",
            "instructions": "Be rude.",
            "output_modalities": ["text"],
            "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}],
            "max_output_tokens": 5,
            "metadata": {"topic": "greeting"},
        },
    )
    body = stage.generating[0].body
    assert (body["max_tokens"], [m["content"] for m in body["messages"]]) == (5, ["Be rude.", "Hi"])
    stage.session.reply_text(stage.generating[0].response_id, "What?")
    response = named(finish(stage), "response.done")["response"]
    assert (response["conversation_id"], response["metadata"]) == (None, {"topic": "greeting"})
    ask(stage)
    assert "What?" not in str(stage.generating[-1].body)


def test_a_second_response_beside_the_first_is_refused(stage: Stage):
    ask(stage)
    error = named(stage.send("response.create"), "error")["error"]
    assert error["code"] == "conversation_already_has_active_response"


def test_a_transcription_session_gives_no_responses():
    stage = Stage(type="transcription")
    stage.events()
    assert named(stage.send("response.create"), "error")["error"]["code"] == "invalid_session_type"
    stage.turn("Nobody answers.")
    assert stage.generating == []


# --- interruption ---


def test_speaking_over_the_reply_ends_it_at_what_was_sent(stage: Stage):
    ask(stage)
    response = stage.generating[-1].response_id
    speak(stage, "First sentence. ")
    stage.session.reply_text(response, "Never heard.")
    events = [event for event in stage.say(200) if event["type"] != "response.output_audio_transcript.delta"]
    assert [event["type"] for event in events][:2] == [
        "input_audio_buffer.speech_started",
        "response.output_audio.done",
    ]
    done = named(events, "response.done")["response"]
    assert (done["status"], done["status_details"]) == ("cancelled", {"type": "cancelled", "reason": "turn_detected"})
    assert done["output"][0]["content"][0]["transcript"] == "First sentence."
    assert done["output"][0]["status"] == "incomplete"


def test_an_interrupted_reply_is_stopped_and_what_comes_late_is_dropped(stage: Stage):
    ask(stage)
    speak(stage, "Long story.")
    response = stage.generating[-1].response_id
    stage.obey("response.cancel")
    assert StopWork(response) in stage.work()
    stage.events()
    stage.session.reply_text(response, "late")
    stage.session.reply_audio(response, SOUND, "late", 0, 1)
    stage.session.reply_done(response, "stop", None)
    assert stage.events() == []


def test_speech_does_not_interrupt_where_that_is_turned_off(stage: Stage):
    turns = {"type": "server_vad", "interrupt_response": False}
    stage.send("session.update", session={"audio": {"input": {"turn_detection": turns}}})
    ask(stage)
    assert "response.done" not in [event["type"] for event in stage.say(200)]


def test_a_cancel_by_the_client_says_so(stage: Stage):
    ask(stage)
    response = stage.generating[-1].response_id
    done = named(stage.send("response.cancel", response_id=response), "response.done")["response"]
    assert done["status_details"]["reason"] == "client_cancelled"
    stage.turn("Next.")
    assert len(stage.generating) == 2


def test_clearing_the_output_stops_the_reply(stage: Stage):
    ask(stage)
    speak(stage, "Long story.")
    events = stage.send("output_audio_buffer.clear")
    assert [event["type"] for event in events][-2:] == ["response.done", "output_audio_buffer.cleared"]
    assert events[-1]["response_id"] == stage.generating[-1].response_id


def test_truncation_leaves_what_was_heard(stage: Stage):
    ask(stage)
    item = named(speak(stage, "One two three four. ", "Five six seven eight. "), "conversation.item.added")["item"]
    finish(stage)
    events = stage.send("conversation.item.truncate", item_id=item["id"], content_index=0, audio_end_ms=1500)
    assert named(events, "conversation.item.truncated")["audio_end_ms"] == 1500
    ask(stage, "Go on.")
    assert stage.generating[-1].body["messages"][-2] == {
        "role": "assistant",
        "content": "One two three four. Five six",
    }


def test_truncation_beyond_the_audio_or_of_a_question_is_refused(stage: Stage):
    events = stage.turn("Question?")
    item = named(speak(stage, "Answer."), "conversation.item.added")["item"]
    finish(stage)
    too_far = stage.send("conversation.item.truncate", item_id=item["id"], content_index=0, audio_end_ms=1001)
    assert named(too_far, "error")["error"]["param"] == "audio_end_ms"
    question = named(events, "conversation.item.added")["item"]
    refused = stage.send("conversation.item.truncate", item_id=question["id"], content_index=0, audio_end_ms=0)
    assert named(refused, "error")["error"]["code"] == "not_truncatable"


# --- failures and limits ---


def test_a_failed_reply_is_told_twice_over_and_the_session_goes_on(stage: Stage):
    ask(stage)
    error = {"type": "upstream_error", "code": "llm_unavailable", "message": "The language model is down"}
    stage.session.reply_failed(stage.generating[-1].response_id, error)
    events = stage.events()
    assert named(events, "response.done")["response"]["status_details"]["error"]["code"] == "llm_unavailable"
    assert named(events, "error")["error"]["message"] == "The language model is down"
    ask(stage, "And now?")
    assert len(stage.generating) == 2


@pytest.mark.parametrize(
    ("finish_reason", "reason"), [("length", "max_output_tokens"), ("content_filter", "content_filter")]
)
def test_a_reply_cut_short_is_incomplete(stage: Stage, finish_reason: str, reason: str):
    ask(stage)
    speak(stage, "Once upon")
    response = named(finish(stage, finish_reason), "response.done")["response"]
    assert (response["status"], response["status_details"]["reason"]) == ("incomplete", reason)


# --- functions ---


def test_a_function_call_passes_through_and_its_output_goes_back(stage: Stage):
    tool = {"type": "function", "name": "get_time", "parameters": {"type": "object", "properties": {}}}
    stage.send("session.update", session={"tools": [tool], "tool_choice": {"type": "function", "name": "get_time"}})
    ask(stage, "What time is it?")
    body = stage.generating[-1].body
    assert body["tools"] == [{"type": "function", "function": {"name": "get_time", "parameters": tool["parameters"]}}]
    assert body["tool_choice"] == {"type": "function", "function": {"name": "get_time"}}
    response = stage.generating[-1].response_id
    stage.session.reply_call(response, 0, "call_1", "get_time", "")
    stage.session.reply_call(response, 0, None, None, '{"zone":')
    stage.session.reply_call(response, 0, None, None, '"UTC"}')
    events = [*stage.events(), *finish(stage, "tool_calls")]
    done = named(events, "response.function_call_arguments.done")
    assert (done["call_id"], done["name"], done["arguments"]) == ("call_1", "get_time", '{"zone":"UTC"}')
    assert named(events, "response.done")["response"]["output"][0]["type"] == "function_call"
    output = {"type": "function_call_output", "call_id": "call_1", "output": "12:00"}
    stage.send("conversation.item.create", item=output)
    stage.send("response.create")
    assert stage.generating[-1].body["messages"][-2:] == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "get_time", "arguments": '{"zone":"UTC"}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "12:00"},
    ]
