"""Speech over HTTP, with real Kokoro and Piper voices: formats, lengths, streams."""

from __future__ import annotations

import base64
import io
import json
import re
import wave
from typing import Any

import av
import httpx
import pytest

from tests.conftest import KOKORO, PIPER, WHISPER

SPEAK = "/v1/audio/speech"
TYPES = {
    "mp3": "audio/mpeg", "wav": "audio/wav", "flac": "audio/flac", "opus": "audio/opus", "aac": "audio/aac",
    "pcm": "audio/pcm",
}  # fmt: skip
TEXT = "The quick brown fox jumps over the lazy dog. Then it sleeps."


def speak(client: httpx.Client, **order: Any) -> httpx.Response:
    response = client.post(SPEAK, json={"model": PIPER, "input": TEXT, "voice": "joe", **order})
    assert response.status_code == 200, response.text
    return response


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line.removeprefix("data: ")) for line in text.split("\n\n") if line]


def seconds(audio: bytes, shape: str, rate: int) -> float:
    if shape == "pcm":
        return len(audio) / 2 / rate
    with av.open(io.BytesIO(audio)) as container:
        frames = list(container.decode(audio=0))
    return sum(frame.samples / frame.sample_rate for frame in frames)


@pytest.mark.parametrize(("given", "kind"), [({}, "audio/wav"), ({"response_format": "mp3"}, "audio/mpeg")])
def test_openvinos_clients_are_sent_what_its_server_speaks(client: httpx.Client, given: dict[str, str], kind: str):
    order = {"model": PIPER, "input": "Hello there, everybody.", "voice": "unused"}
    response = client.post("/v3/audio/speech", json=order | given)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == kind


def test_the_default_is_mp3(client: httpx.Client):
    response = speak(client)
    assert response.headers["content-type"] == "audio/mpeg"
    assert seconds(response.content, "mp3", 0) > 2


@pytest.mark.parametrize("stream_format", [None, "audio"])
@pytest.mark.parametrize("shape", TYPES)
def test_every_format_holds_the_speech(client: httpx.Client, shape: str, stream_format: str | None):
    response = speak(client, response_format=shape, stream_format=stream_format)
    assert response.headers["content-type"] == TYPES[shape]
    assert 3.5 < seconds(response.content, shape, 22_050) < 5.5  # Piper never says it twice alike


def test_a_wav_that_is_not_streamed_has_its_true_sizes(client: httpx.Client):
    response = speak(client, response_format="wav")
    assert int(response.headers["content-length"]) == len(response.content)
    with wave.open(io.BytesIO(response.content)) as audio:
        assert len(audio.readframes(audio.getnframes())) == len(response.content) - 44


def test_a_streamed_wav_comes_in_pieces(client: httpx.Client):
    response = speak(client, response_format="wav", stream_format="audio")
    assert response.headers["transfer-encoding"] == "chunked"
    assert response.content.startswith(b"RIFF\xff\xff\xff\xffWAVE")


@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 44_100, 48_000])
def test_the_sample_rate_is_as_asked(client: httpx.Client, rate: int):
    response = speak(client, response_format="wav", sample_rate=rate, input="Hello.")
    with wave.open(io.BytesIO(response.content)) as audio:
        assert audio.getframerate() == rate


def test_events_carry_the_format_asked_for(client: httpx.Client):
    response = speak(client, stream_format="sse", response_format="pcm", sample_rate=16_000)
    assert response.headers["content-type"].startswith("text/event-stream")
    *deltas, done = events(response.text)
    assert {delta["type"] for delta in deltas} == {"speech.audio.delta"}
    audio = b"".join(base64.b64decode(delta["audio"]) for delta in deltas)
    whole = speak(client, stream_format="audio", response_format="pcm", sample_rate=16_000).content
    assert abs(len(audio) - len(whole)) < 16_000
    assert done["type"] == "speech.audio.done"
    assert done["usage"] == done["token_usage"]
    assert done["usage"]["input_tokens"] == len(TEXT)


def test_the_first_sound_comes_before_the_last(client: httpx.Client):
    pieces = []
    with client.stream(
        "POST", SPEAK, json={"model": PIPER, "input": TEXT * 20, "voice": "joe", "response_format": "pcm"}
    ) as response:
        for piece in response.iter_raw():
            pieces.append(len(piece))
            if len(pieces) == 1:
                busy = client.get("/api/ps").json()["details"]
    assert {model["id"]: model["references"] for model in busy}[PIPER] == 1
    assert len(pieces) > 3
    assert pieces[0] < sum(pieces) / 4


@pytest.mark.parametrize(
    "voice", ["af_heart", "bm_george", "alloy", "af_heart(2)+af_sky(1)", {"id": "af_heart"}, "", "default", None]
)
def test_voices_of_kokoro(client: httpx.Client, voice: Any):
    order = {"model": KOKORO, "input": "Hello.", "voice": voice, "response_format": "wav"}
    if voice is None:
        del order["voice"]
    assert client.post(SPEAK, json=order).status_code == 200


@pytest.mark.parametrize("voice", ["joe", "alloy", "unused"])
def test_voices_of_a_model_with_one(client: httpx.Client, voice: str):
    assert speak(client, voice=voice, input="Hello.").content


def test_speed_changes_the_length(client: httpx.Client):
    slow, fast = (len(speak(client, response_format="pcm", speed=speed).content) for speed in (0.7, 1.8))
    assert slow > 1.6 * fast


@pytest.mark.parametrize("speed", [0.25, 4.0])
def test_every_speed_of_openais_is_spoken(client: httpx.Client, speed: float):
    order = {"model": KOKORO, "input": "Hello there.", "voice": "af_heart", "response_format": "pcm"}
    plain, changed = (client.post(SPEAK, json={**order, "speed": pace}).content for pace in (1.0, speed))
    assert len(plain) / len(changed) == pytest.approx(speed, rel=0.03)


@pytest.mark.parametrize("number", ["&#" + "1" * 5000, "&#x" + "f" * 5000 + ";", "&#55357;", "&#1114112;"])
def test_a_number_that_is_no_character_is_not_said(client: httpx.Client, number: str):
    assert speak(client, input=f"Hello {number} there.").content


def test_unknown_fields_and_instructions_are_ignored(client: httpx.Client):
    assert speak(client, instructions="Whisper.", unknown_field=1, input="Hello.").content


def test_spanish_is_spoken_and_understood(client: httpx.Client):
    order = {"model": "tts-1", "voice": "ef_dora", "input": "Madrid es la capital de España."}
    spoken = client.post(SPEAK, json={**order, "response_format": "wav"})
    heard = client.post(
        "/v1/audio/transcriptions",
        files={"file": ("a.wav", spoken.content)},
        data={"model": WHISPER, "response_format": "verbose_json"},
    ).json()
    assert heard["language"] == "es"
    assert "madrid es la capital de españa" in re.sub(r"[^\w ]", "", heard["text"].lower())
