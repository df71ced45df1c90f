from __future__ import annotations

import pytest

from speech_server.realtime.protocol.events import ProtocolError
from speech_server.realtime.protocol.items import FunctionCall, FunctionCallOutput, Message, Part, chat_messages, wire
from speech_server.realtime.state.conversation import MAX_CHARACTERS, MAX_ITEMS, Conversation


def said(item_id: str, text: str = "words") -> Message:
    return Message(id=item_id, role="user", content=[Part(type="input_text", text=text)])


def test_the_oldest_items_make_room_for_the_newest():
    conversation = Conversation()
    for number in range(MAX_ITEMS + 10):
        conversation.add(said(f"item_{number}"))
    assert [item.id for item in conversation] == [f"item_{number}" for number in range(10, MAX_ITEMS + 10)]


def test_a_few_long_items_count_as_much_as_many_short_ones():
    conversation = Conversation()
    for number in range(5):
        conversation.add(said(f"item_{number}", "x" * (MAX_CHARACTERS // 2)))
    assert [item.id for item in conversation] == ["item_3", "item_4"]


def test_what_is_put_at_the_beginning_of_a_full_conversation_stays():
    conversation = Conversation()
    for number in range(MAX_ITEMS):
        conversation.add(said(f"item_{number}"))
    assert conversation.add(said("new"), "root") is None
    assert conversation.get("new").id == "new"
    assert len(conversation) == MAX_ITEMS
    assert [item.id for item in conversation][:2] == ["new", "item_1"]


def test_the_item_before_a_new_one_is_one_that_is_still_there():
    conversation = Conversation()
    for number in range(MAX_ITEMS):
        conversation.add(said(f"item_{number}"))
    assert conversation.add(said("new"), "item_0") is None
    assert next(item.id for item in conversation) == "new"


def test_everything_an_item_keeps_counts():
    half, conversation = "x" * (MAX_CHARACTERS // 2 + 1), Conversation()
    conversation.add(FunctionCall(type="function_call", id="a", call_id=half, name="f", arguments=""))
    conversation.add(FunctionCall(type="function_call", id="b", name=half, arguments=""))
    assert [item.id for item in conversation] == ["b"]
    conversation.add(FunctionCallOutput(type="function_call_output", id="c", call_id=half, output=""))
    assert [item.id for item in conversation] == ["c"]
    part = Part(type="input_text", text="words", transcript=half)
    conversation.add(Message(id="d", role="user", content=[part]))
    assert [item.id for item in conversation] == ["d"]
    with pytest.raises(ProtocolError):
        conversation.add(Message(id="e", role="user", content=[Part(type="input_text")] * (MAX_CHARACTERS // 100)))


def test_an_item_that_alone_is_too_much_is_refused():
    with pytest.raises(ProtocolError) as refused:
        Conversation().add(said("huge", "x" * (MAX_CHARACTERS + 1)))
    assert refused.value.code == "item_too_large"


def test_an_id_is_taken_once():
    conversation = Conversation()
    conversation.add(said("a"))
    with pytest.raises(ProtocolError) as refused:
        conversation.add(said("a"))
    assert refused.value.code == "item_exists"


def test_audio_does_not_travel_with_an_item():
    item = Message(role="user", content=[Part(type="input_audio", audio="AAAA", transcript="Hi")])
    assert wire(item)["content"] == [{"type": "input_audio", "transcript": "Hi"}]


def test_the_language_model_gets_text_images_and_calls():
    items = [
        Message(
            role="user",
            content=[
                Part(type="input_text", text="Look:"),
                Part(type="input_image", image_url="data:image/png;base64,AA"),
            ],
        ),
        Message(role="assistant", content=[Part(type="output_audio", transcript="One moment.")]),
        FunctionCall(type="function_call", call_id="c1", name="zoom", arguments="{}"),
        FunctionCall(type="function_call", call_id="c2", name="zoom", arguments="{}"),
        FunctionCallOutput(type="function_call_output", call_id="c1", output="done"),
        Message(role="user", content=[Part(type="input_audio")]),
    ]
    system, look, assistant, output = chat_messages(items, "Be exact.")
    assert system == {"role": "system", "content": "Be exact."}
    assert [part["type"] for part in look["content"]] == ["text", "image_url"]
    assert (assistant["content"], [call["id"] for call in assistant["tool_calls"]]) == ("One moment.", ["c1", "c2"])
    assert output == {"role": "tool", "tool_call_id": "c1", "content": "done"}
