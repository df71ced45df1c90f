from __future__ import annotations

import pytest

from speech_server.realtime.conversation import MAX_CHARACTERS, MAX_ITEMS, Conversation
from speech_server.realtime.events import ProtocolError
from speech_server.realtime.items import FunctionCall, FunctionCallOutput, Message, Part, chat_messages, wire


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
