"""A long recording comes back as one answer, whoever heard which piece of it."""

from __future__ import annotations

import io
import wave
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from openai.types.audio import TranscriptionDiarized

from speech_server.audio.budget import Limits
from speech_server.audio.decode import stream
from tests.conftest import WHISPER
from tests.endpoint.gateway.conftest import RunningGateway, start, stop
from tests.local_runpod.local_platform import eventually
from tests.speech_server.conftest import ENGLISH
from tests.speech_server.transcribing import words_of
from tests.speech_server.voices import CONVERSATION, SAID, TRUTH

LATE = 630  # seconds: in the second piece
TURNED = (TRUTH[1].end + TRUTH[2].start) / 2  # seconds of the conversation: C is the first to speak then


@pytest.fixture(scope="module")
def gateway(queue_url: str) -> Iterator[RunningGateway]:
    running = start(queue_url, "--pieces", "620", RUNPOD_API_KEY="any")
    yield running
    stop(running)


def recording(seconds: float, first: Path = ENGLISH, turned: float = 0.0) -> bytes:
    """Silence, with the clip at its beginning, and at LATE once more, where it is `turned` by so many seconds."""
    clip = (np.concatenate(list(stream(first, Limits(60)))) * 32767).astype("<i2")
    samples = np.zeros(round(seconds * 16_000), "<i2")
    for at, sound in ((0, clip), (LATE * 16_000, np.roll(clip, -round(turned * 16_000)))):
        samples[at : at + len(clip)] = sound[: len(samples) - at] if at < len(samples) else ()
    file = io.BytesIO()
    with wave.open(file, "wb") as made:
        made.setparams((1, 2, 16_000, 0, "NONE", "NONE"))
        made.writeframes(samples.tobytes())
    return file.getvalue()


@pytest.fixture(scope="module")
def long() -> bytes:
    return recording(LATE + 10)


def hear(gateway: RunningGateway, sound: bytes, **fields: str) -> httpx.Response:
    files, data = {"file": ("long.wav", sound)}, {"model": WHISPER, **fields}
    return httpx.post(f"{gateway.url}/v1/audio/transcriptions", data=data, files=files, timeout=120)


def test_its_pieces_are_one_answer(gateway: RunningGateway, long: bytes):
    reply = hear(gateway, long, response_format="verbose_json", **{"timestamp_granularities[]": "word"})
    assert reply.status_code == 200, reply.text
    body = reply.json()
    assert body["text"].lower().count("quick brown fox") == 2
    assert (body["language"], body["duration"]) == ("en", pytest.approx(LATE + 10, abs=0.1))
    assert body["words"][0]["start"] < 2
    assert LATE < body["words"][-1]["end"] < LATE + 6
    assert [segment["id"] for segment in body["segments"]] == list(range(len(body["segments"])))
    eventually(lambda: "long.wav: 640 s of sound in 2 pieces" in gateway.log, what="a line of the log")
    assert float(reply.headers["x-worker-seconds"]) > 0


def test_who_speaks_is_the_same_in_all_of_them(gateway: RunningGateway):
    fields = {"response_format": "diarized_json", "model": "gpt-4o-transcribe-diarize", "language": "en"}
    reply = hear(gateway, recording(LATE + 24, CONVERSATION, TURNED), **fields, speaker_embeddings="true")
    assert reply.status_code == 200, reply.text
    eventually(lambda: "654 s of sound in 2 pieces" in gateway.log, what="a line of the log")
    answer = TranscriptionDiarized.model_validate(reply.json())
    assert [segment.id for segment in answer.segments] == [f"seg_{n:03}" for n in range(len(answer.segments))]
    assert [speaker["speaker"] for speaker in reply.json()["speakers"]] == ["A", "B", "C"]
    for first, turned in ((0.0, 0.0), (LATE, TURNED)):
        texts = dict.fromkeys("ABC", "")
        for segment in answer.segments:
            if abs(segment.start - first - 12) < 14:
                texts[segment.speaker] += f" {segment.text}"
        for truth, said in zip(TRUTH, SAID, strict=True):
            heard = words_of(texts[truth.speaker]).split()
            assert sum(word in heard for word in said.split()) >= len(said.split()) - 1, (turned, said, texts)


@pytest.mark.parametrize(
    ("fields", "status"), [({"num_speakers": "many"}, 422), ({"min_speakers": "3", "max_speakers": "2"}, 422)]
)
def test_what_asks_for_speakers_wrongly_is_refused_before_it_is_heard(
    gateway: RunningGateway, long: bytes, fields: dict[str, str], status: int
):
    before = gateway.log.count("pieces")
    reply = hear(gateway, long, diarize="true", **fields)
    assert (reply.status_code, next(iter(fields)) in reply.text) == (status, True), reply.text
    assert gateway.log.count("pieces") == before


def test_more_people_than_were_heard_is_the_caller_s_mistake(gateway: RunningGateway, long: bytes):
    reply = hear(gateway, long, diarize="true", num_speakers="50")
    assert (reply.status_code, reply.json()["error"]["type"]) == (400, "invalid_request_error")
    assert "50 speakers are asked for" in reply.json()["error"]["message"]


def test_what_is_refused_is_refused_as_one(gateway: RunningGateway, long: bytes):
    reply = hear(gateway, long, model="nobody/has-this")
    assert (reply.status_code, reply.json()["error"]["type"]) == (404, "invalid_request_error")
    assert "nobody/has-this" in reply.json()["error"]["message"]


def test_a_shorter_one_is_one_job(gateway: RunningGateway):
    before = gateway.log.count("pieces")
    reply = hear(gateway, recording(60), response_format="text")
    assert "fox" in reply.text
    assert gateway.log.count("pieces") == before
