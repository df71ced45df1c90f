"""A long recording comes back as one answer, whoever heard which piece of it."""

from __future__ import annotations

import io
import wave
from collections.abc import Iterator

import httpx
import numpy as np
import pytest

from speech_server.audio.budget import Limits
from speech_server.audio.decode import stream
from tests.conftest import WHISPER
from tests.endpoint.gateway.conftest import RunningGateway, start, stop
from tests.speech_server.conftest import ENGLISH

LATE = 630  # seconds: in the second piece


@pytest.fixture(scope="module")
def gateway(queue_url: str) -> Iterator[RunningGateway]:
    running = start(queue_url, "--pieces", "620", RUNPOD_API_KEY="any")
    yield running
    stop(running)


def recording(seconds: float) -> bytes:
    """Silence, with the clip at its beginning and at LATE."""
    clip = (np.concatenate(list(stream(ENGLISH, Limits(60)))) * 32767).astype("<i2")
    samples = np.zeros(round(seconds * 16_000), "<i2")
    for at in (0, LATE * 16_000):
        samples[at : at + len(clip)] = clip[: len(samples) - at] if at < len(samples) else ()
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
    assert "long.wav: 640 s of sound in 2 pieces" in gateway.log
    assert float(reply.headers["x-worker-seconds"]) > 0


def test_what_is_refused_is_refused_as_one(gateway: RunningGateway, long: bytes):
    reply = hear(gateway, long, model="nobody/has-this")
    assert (reply.status_code, reply.json()["error"]["type"]) == (404, "invalid_request_error")
    assert "nobody/has-this" in reply.json()["error"]["message"]


def test_a_shorter_one_is_one_job(gateway: RunningGateway):
    before = gateway.log.count("pieces")
    reply = hear(gateway, recording(60), response_format="text")
    assert "fox" in reply.text
    assert gateway.log.count("pieces") == before
