"""Voice chat against a real server, through the official openai client."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from tests.conftest import PIPER, WHISPER, ServerProcess
from tests.sound import wav
from tests.speech_server.audio.making import make
from tests.stand_in_llm import Reply, words
from tests.talking import RATE, TalkServer, nearly, plain, spoken, talk_server, understood

pytestmark = pytest.mark.xdist_group("chat")

QUESTION = "Please tell me what time it is."
ANSWER = "I believe that it is Paris. You can see a very tall tower there."
SPOKEN: dict[str, Any] = {
    "modalities": ["text", "audio"],
    "audio": {"voice": "joe", "format": "wav"},
    "extra_body": {"speech_model": PIPER, "transcription_model": WHISPER},
}


@pytest.fixture
def client(talk: TalkServer) -> Iterator[OpenAI]:
    with OpenAI(api_key="none", base_url=f"{talk.url}/v1", max_retries=0) as client:
        yield client


@pytest.fixture(scope="session")
def question(talk: TalkServer) -> str:
    return base64.b64encode(wav(spoken(talk.url, QUESTION), RATE)).decode()


def hears(data: str, *more: dict[str, Any]) -> list[Any]:
    audio = {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
    return [{"role": "user", "content": [*more, audio]}]


# --- whole ---


def test_an_audio_question_gets_a_spoken_answer(talk: TalkServer, client: OpenAI, question: str):
    talk.answer(ANSWER)
    completion = client.chat.completions.create(
        model="some-llm", messages=hears(question, {"type": "text", "text": "Listen:"}), temperature=0.5, **SPOKEN
    )
    instruction, heard = talk.asked["messages"][0]["content"].split("\n")
    assert (instruction, plain(heard)) == ("Listen:", nearly(QUESTION))
    assert talk.asked["temperature"] == 0.5
    assert not {"modalities", "audio", "speech_model", "transcription_model"} & set(talk.asked)
    message = completion.choices[0].message
    assert message.audio is not None
    assert (message.content, message.audio.transcript) == (None, ANSWER)
    assert understood(talk.url, base64.b64decode(message.audio.data)) == nearly(ANSWER)
    assert completion.usage is not None


@pytest.mark.parametrize(
    ("audio_format", "begins"),
    [("mp3", (b"ID3", b"\xff\xf3", b"\xff\xfb")), ("flac", (b"fLaC",)), ("opus", (b"OggS",)), ("wav", (b"RIFF",))],
)
def test_the_answer_comes_in_the_format_asked_for(
    talk: TalkServer, client: OpenAI, audio_format: str, begins: tuple[bytes, ...]
):
    talk.answer("Certainly, here you are.")
    order = SPOKEN | {"audio": {"voice": "joe", "format": audio_format}}
    completion = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hi"}], **order)
    audio = completion.choices[0].message.audio
    assert audio is not None
    assert base64.b64decode(audio.data).startswith(begins)


def test_text_chat_passes_through_as_it_is(talk: TalkServer, client: OpenAI):
    call = {"id": "call_1", "type": "function", "function": {"name": "get_time", "arguments": '{"zone": "UTC"}'}}
    talk.answer(Reply(tool_calls=[call], finish_reason="tool_calls"))
    tools: Any = [{"type": "function", "function": {"name": "get_time", "parameters": {"type": "object"}}}]
    completion = client.chat.completions.create(
        model="some-llm", messages=[{"role": "user", "content": "Time?"}], tools=tools, seed=7
    )
    assert completion.choices[0].message.tool_calls is not None
    assert completion.choices[0].message.tool_calls[0].to_dict() == call
    assert (talk.asked["tools"], talk.asked["seed"]) == (tools, 7)
    assert talk.llm.requests[-1][0]["Authorization"] == "Bearer llm-key"


def test_a_spoken_answer_can_be_named_in_the_next_question(talk: TalkServer, client: OpenAI):
    talk.answer(ANSWER)
    first: Any = {"role": "user", "content": "Where?"}
    audio = client.chat.completions.create(model="m", messages=[first], **SPOKEN).choices[0].message.audio
    assert audio is not None
    named: Any = {"role": "assistant", "audio": {"id": audio.id}}
    client.chat.completions.create(model="m", messages=[first, named, first])
    assert talk.asked["messages"][1] == {"role": "assistant", "content": ANSWER}
    named["audio"]["id"] = "audio_of_another_worker"
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="m", messages=[first, named, first])
    assert refused.value.code == "audio_expired"


# --- streamed ---


def test_text_comes_per_token_and_sound_while_the_rest_is_written(talk: TalkServer, client: OpenAI):
    gate = threading.Event()
    talk.answer(Reply("I believe that it is Paris. You can", held=" see a very tall tower there.", gate=gate))
    stream = client.chat.completions.create(
        model="m", messages=[{"role": "user", "content": "Where?"}], stream=True, **SPOKEN
    )
    transcripts, sound, ids, finish = [], b"", set(), None
    for chunk in stream:
        for choice in chunk.choices:
            audio = choice.delta.to_dict().get("audio") or {}
            ids |= {audio["id"]} if "id" in audio else set()
            transcripts += [audio["transcript"]] if "transcript" in audio else []
            if "data" in audio:
                sound += base64.b64decode(audio["data"])
                gate.set()  # the first sentence is heard: now the model may write the second
            assert finish is None, "nothing comes after the end"
            finish = choice.finish_reason
            assert not choice.delta.content
    assert transcripts == words(ANSWER)
    assert (len(ids), finish) == (1, "stop")
    assert understood(talk.url, wav(sound, RATE)) == nearly(ANSWER)


def test_a_text_stream_passes_through_and_ends_with_done(talk: TalkServer):
    talk.answer("One two three.")
    body = {"model": "m", "messages": [{"role": "user", "content": "Count"}], "stream": True}
    response = httpx.post(f"{talk.url}/v1/chat/completions", json=body, timeout=30)
    assert response.headers["content-type"].startswith("text/event-stream")
    *events, done = [line.removeprefix("data: ") for line in response.text.splitlines() if line]
    assert done == "[DONE]"
    deltas = [json.loads(event)["choices"][0]["delta"].get("content") or "" for event in events]
    assert "".join(deltas) == "One two three."


def test_a_client_that_leaves_stops_the_language_model(talk: TalkServer):
    gate = threading.Event()
    talk.answer(Reply("Once upon", held=" a time there was a king." * 2000, gate=gate))
    body = {"model": "m", "messages": [{"role": "user", "content": "A story"}], "stream": True}
    with httpx.stream("POST", f"{talk.url}/v1/chat/completions", json=body, timeout=30) as response:
        next(response.iter_bytes())
    gate.set()
    assert talk.llm.gone.wait(10)


# --- what goes wrong ---


def refusal(talk: TalkServer, **fields: Any) -> tuple[int, dict[str, Any]]:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]} | fields
    response = httpx.post(f"{talk.url}/v1/chat/completions", json=body, timeout=30)
    assert response.json()["detail"]
    return response.status_code, response.json()["error"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"messages": hears("%%%")}, 400, "messages[0].content[0].input_audio.data"),
        ({"messages": hears("")}, 400, "messages[0].content[0].input_audio.data"),
        (
            {"messages": hears(base64.b64encode(b"no audio at all").decode())},
            415,
            "messages[0].content[0].input_audio.data",
        ),
        ({"messages": hears("AAAA"), "transcription_model": "no/model"}, 404, "model"),
        ({"messages": hears("AAAA"), "transcription_model": PIPER}, 404, "model"),
        ({"modalities": ["audio"], "speech_model": WHISPER}, 404, "model"),
        ({"modalities": ["audio"], "audio": {"voice": "nobody"}, "speech_model": PIPER}, 400, "voice"),
        ({"modalities": ["audio"], "audio": {"voice": "joe", "format": "midi"}}, 422, "format"),
        ({"messages": []}, 422, "messages"),
        ({"transcription_extra_body": {"language": "klingon"}}, 400, "language"),
    ],
)
def test_a_bad_request_is_refused_before_the_language_model_is_asked(
    talk: TalkServer, fields: dict[str, Any], status: int, param: str | None, stream: bool
):
    talk.answer("Never.")
    refused, error = refusal(talk, stream=stream, **fields)
    assert (refused, error["param"]) == (status, param), error
    assert talk.llm.requests == []


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [400, 401, 404, 429, 500])
def test_what_the_language_model_refuses_is_502_in_its_own_words(talk: TalkServer, status: int, stream: bool):
    talk.answer(Reply(status=status))
    refused, error = refusal(talk, stream=stream)
    assert (refused, error["code"]) == (502, "llm_error")
    assert f"refused with {status}" in error["message"]


def test_a_language_model_that_breaks_off_ends_the_stream_with_an_error(talk: TalkServer):
    talk.answer(Reply("Half an", breaks_off=True))
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    response = httpx.post(f"{talk.url}/v1/chat/completions", json=body, timeout=30)
    last = [json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: {")][-1]
    assert (last["type"], last["error"]["code"]) == ("error", "llm_unavailable")
    assert "out of memory" in last["error"]["message"]


@pytest.fixture(scope="module")
def brief() -> Iterator[TalkServer]:
    with talk_server(MAX_AUDIO_SECONDS="10") as server:
        yield server


@pytest.mark.parametrize("seconds", [[11], [6, 6]])
def test_audio_is_under_the_limit_of_recordings_all_of_it_together(brief: TalkServer, seconds: list[int]):
    clips = [base64.b64encode(make("flac", length)).decode() for length in seconds]
    brief.answer("Never.")
    messages = [message for clip in clips for message in hears(clip)]
    status, error = refusal(brief, messages=messages, transcription_model=WHISPER)
    assert (status, error["code"]) == (413, "too_large")
    assert error["param"].endswith("input_audio.data")
    assert brief.llm.requests == []


def test_very_many_clips_take_turns(talk: TalkServer, question: str):
    talk.answer(ANSWER)
    body = {"model": "m", "messages": hears(question) * 10, "transcription_model": WHISPER}
    assert httpx.post(f"{talk.url}/v1/chat/completions", json=body, timeout=120).status_code == 200


def test_a_language_model_that_is_down_is_502():
    server = ServerProcess({"CHAT_COMPLETION_BASE_URL": "http://127.0.0.1:9/v1"})
    try:
        body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
        response = httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=30)
    finally:
        server.stop()
    assert (response.status_code, response.json()["error"]["code"]) == (502, "llm_unavailable")
    assert "CHAT_COMPLETION_BASE_URL" in response.json()["error"]["message"]


def test_without_a_language_model_the_error_says_how_to_set_one(server_url: str):
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
    response = httpx.post(f"{server_url}/v1/chat/completions", json=body, timeout=30)
    assert (response.status_code, response.json()["error"]["code"]) == (501, "llm_not_configured")
    assert "CHAT_COMPLETION_BASE_URL" in response.json()["error"]["message"]
