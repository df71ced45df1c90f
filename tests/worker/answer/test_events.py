"""Event streams add up to the reply the same request would have had without streaming."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.answer.events import Event, parse_events, whole_result


def sse(*values: Any) -> bytes:
    return b"".join(b"data: " + json.dumps(value).encode() + b"\n\n" for value in values)


def whole(*values: Any) -> Any:
    return whole_result(parse_events(sse(*values)))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_events_are_read_with_all_line_ends(end: str):
    raw = f"event: a{end}data: 1{end}data:2{end}{end}: comment{end}{end}data: x".encode()
    assert list(parse_events(raw)) == [Event("a", "1\n2"), Event("", "x")]


def test_a_transcript_is_its_last_event():
    assert whole(
        {"type": "transcript.text.delta", "delta": "a"}, {"type": "transcript.text.done", "text": "ab", "usage": None}
    ) == {"text": "ab"}


@pytest.mark.parametrize("done", [{"text": ""}, {}, {"text": None}])
def test_a_transcript_whose_last_event_is_empty_is_its_deltas(done: dict[str, Any]):
    deltas = [{"type": "transcript.text.delta", "delta": text} for text in (" It", " works.")]
    assert whole(*deltas, {"type": "transcript.text.done", **done}) == {"text": " It works."}
    assert whole({"type": "transcript.text.done", **done}) == {"text": ""}, "silence"


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"RIFF....WAVE", "audio/wav"),
        (b"ID3...", "audio/mpeg"),
        (b"\xff\xfb...", "audio/mpeg"),
        (b"\xff\xf1...", "audio/aac"),
        (b"OggS..", "audio/opus"),
        (b"fLaC", "audio/flac"),
        (b"\x00\x01", "audio/pcm"),
        (b"", "audio/pcm"),
    ],
)
def test_speech_is_joined_across_base64_padding(content: bytes, kind: str):
    parts = [content[i : i + 1] for i in range(len(content))]
    events = [{"type": "speech.audio.delta", "audio": base64.b64encode(part).decode()} for part in parts]
    assert whole(*events, {"type": "speech.audio.done"}) == {
        "status": "success",
        "content_type": kind,
        "audio_content": base64.b64encode(content).decode(),
    }


def test_a_completion_is_merged_from_its_chunks():
    def chunk(delta: Any, **more: Any) -> dict[str, Any]:
        return {
            "id": "c",
            "object": "chat.completion.chunk",
            "model": "m",
            "choices": [{"index": 0, "delta": delta, **more}],
        }

    merged = whole_result(
        parse_events(
            sse(
                chunk({"role": "assistant", "content": ""}),
                chunk({"content": "Hel"}),
                chunk({"content": "lo", "audio": {"id": "a1", "transcript": "Hel"}}),
                chunk({"audio": {"transcript": "lo", "data": base64.b64encode(b"A").decode()}}),
                chunk({"audio": {"data": base64.b64encode(b"B").decode(), "expires_at": 7}}),
                chunk({"tool_calls": [{"index": 0, "id": "t", "function": {"name": "f", "arguments": '{"a'}}]}),
                chunk({"tool_calls": [{"index": 0, "function": {"arguments": '":1}'}}]}),
                chunk({}, finish_reason="stop"),
            )
            + b"data: [DONE]\n\n"
        )
    )
    assert merged == {
        "id": "c",
        "object": "chat.completion",
        "model": "m",
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {
                    "role": "assistant",
                    "content": "Hello",
                    "audio": {"id": "a1", "transcript": "Hello", "data": "QUI=", "expires_at": 7},
                    "tool_calls": [{"index": 0, "id": "t", "function": {"name": "f", "arguments": '{"a":1}'}}],
                },
            }
        ],
    }


@pytest.mark.parametrize(
    "values", [(), ("text",), ({"type": "other"},), ({"object": "chat.completion.chunk", "choices": 5},)]
)
def test_events_of_another_kind_have_no_whole(values: tuple[Any, ...]):
    assert whole(*values) is None


some_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["choices", "delta", "index", "audio", "data", "content", "x"]), inner, max_size=4
        )
    ),
    max_leaves=10,
)


@given(st.lists(some_json.map(lambda v: {"object": "chat.completion.chunk", "choices": v}) | some_json, max_size=4))
def test_no_event_of_a_foreign_server_breaks_the_job(values: list[Any]):
    json.dumps(whole(*values), default=str)


@given(st.binary(max_size=100))
def test_any_bytes_are_events(raw: bytes):
    assert all(isinstance(event, Event) for event in parse_events(raw))
