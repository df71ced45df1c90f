"""The beta protocol: names and shapes of clients from before GA."""

from __future__ import annotations

from typing import Any

from speech_server.realtime.protocol.dialect import ga_patch
from tests.speech_server.realtime.stage import Stage, named


def test_a_beta_client_sees_the_flat_session():
    session = named(Stage(beta=True).events(), "session.created")["session"]
    assert (session["modalities"], session["input_audio_format"], session["voice"]) == (
        ["text", "audio"],
        "pcm16",
        "alloy",
    )
    assert session["turn_detection"]["silence_duration_ms"] == 550


def test_beta_fields_find_their_new_places():
    assert ga_patch(
        {
            "id": "sess_1",
            "modalities": ["text", "audio"],
            "voice": "verse",
            "input_audio_format": "g711_ulaw",
            "output_audio_format": "pcm16",
            "turn_detection": None,
            "input_audio_transcription": {"model": "whisper-1"},
            "max_response_output_tokens": "inf",
            "instructions": "Hi",
        }
    ) == {
        "output_modalities": ["audio"],
        "instructions": "Hi",
        "max_output_tokens": "inf",
        "audio": {
            "input": {
                "format": {"type": "audio/pcmu"},
                "turn_detection": None,
                "transcription": {"model": "whisper-1"},
            },
            "output": {"voice": "verse", "format": {"type": "audio/pcm", "rate": 24000}},
        },
    }


def test_a_client_that_sends_beta_shapes_is_answered_in_beta():
    stage = Stage()
    stage.events()
    stage.beta = True
    session = named(stage.send("session.update", session={"voice": "verse"}), "session.updated")["session"]
    assert session["voice"] == "verse"


def test_a_beta_conversation_has_the_old_names():
    stage = Stage(beta=True)
    stage.events()
    names = [event["type"] for event in stage.turn("Hello?")]
    response = stage.generating[0].response_id
    stage.session.reply_text(response, "Hi.")
    stage.session.reply_audio(response, "AAAA", "Hi.", 0, 100)
    stage.session.reply_done(response, "stop", None)
    events = stage.events()
    names += [event["type"] for event in events]
    assert "conversation.item.created" in names
    assert {"response.audio.delta", "response.audio.done", "response.audio_transcript.delta"} <= set(names)
    assert not {
        name
        for name in names
        if "output_audio" in name or name in ("conversation.item.added", "conversation.item.done")
    }
    item = named(events, "response.done")["response"]["output"][0]
    assert item["content"][0]["type"] == "audio"


def test_a_transcription_session_update_is_answered_in_kind():
    stage = Stage(type="transcription")
    stage.events()
    patch: dict[str, Any] = {"input_audio_transcription": {"model": "whisper-1", "language": "de"}}
    stage.obey("transcription_session.update", session=patch)
    updated = named(stage.events(), "transcription_session.updated")
    assert updated["session"]["input_audio_transcription"]["language"] == "de"


def test_the_old_names_of_content_are_understood():
    stage = Stage(beta=True)
    stage.events()
    item = {"type": "message", "role": "assistant", "content": [{"type": "text", "text": "I said this."}]}
    created = named(stage.send("conversation.item.create", item=item), "conversation.item.created")
    assert created["item"]["content"][0]["type"] == "text"
    stage.send("response.create")
    assert stage.generating[0].body["messages"] == [{"role": "assistant", "content": "I said this."}]
