"""/metrics is Prometheus' text, and counts what happened."""

from __future__ import annotations

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import PIPER, WHISPER
from tests.speech_server.routes.conftest import CLIPS


def scrape(client: httpx.Client) -> dict[tuple[str, tuple[str, ...]], float]:
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {
        (sample.name, tuple(sample.labels.values())): sample.value for family in families for sample in family.samples
    }


def test_requests_audio_and_models_are_counted(client: httpx.Client):
    client.post(f"/api/ps/{WHISPER}")
    before = scrape(client)
    clip = (CLIPS / "english.opus").read_bytes()
    client.post("/v1/audio/transcriptions", files={"file": clip}, data={"model": WHISPER})
    client.get("/v1/models/nobody/nothing")
    after = scrape(client)

    def grew(name: str, *labels: str) -> float:
        return after[name, labels] - before.get((name, labels), 0)

    assert grew("speech_requests_total", "POST", "/v1/audio/transcriptions", "200") == 1
    assert grew("speech_requests_total", "GET", "/v1/models/{model_id:path}", "404") == 1
    assert grew("speech_request_seconds_count", "/v1/audio/transcriptions") == 1
    assert round(grew("speech_audio_seconds_total", "automatic-speech-recognition"), 1) == 5.3
    assert grew("speech_real_time_factor_count", "automatic-speech-recognition") == 1
    assert after["speech_models_loaded", ()] >= 2
    assert after["speech_model_memory_bytes", (WHISPER,)] > 50e6
    assert after["speech_model_references", (WHISPER,)] == 0
    assert after["speech_requests_in_flight", ()] == 0
    assert grew("speech_batches_total", WHISPER) == grew("speech_batch_works_total", WHISPER) == 1
    assert after["speech_queue_works", (WHISPER,)] == after["speech_queue_requests", (WHISPER,)] == 0
    assert after["process_resident_memory_bytes", ()] > 50e6


def test_speech_is_counted(client: httpx.Client):
    before = scrape(client).get(("speech_audio_seconds_total", ("text-to-speech",)), 0)
    order = {"model": PIPER, "input": "Hello there.", "response_format": "pcm"}
    spoken = len(client.post("/v1/audio/speech", json=order).content) / 2 / 22_050
    counted = scrape(client)["speech_audio_seconds_total", ("text-to-speech",)] - before
    assert counted == pytest.approx(spoken, abs=0.01)


def test_being_asked_is_not_counted(client: httpx.Client):
    for path in ("/health", "/ping", "/metrics"):
        client.get(path)
    assert not any(path in labels for _, labels in scrape(client) for path in ("/health", "/ping", "/metrics"))


def test_strangers_cannot_make_the_counters_grow(client: httpx.Client):
    client.request("PROPFIND", "/v1/models")
    for number in range(3):
        client.get(f"/strange/{number}")
    labels = [labels for name, labels in scrape(client) if name == "speech_requests_total"]
    assert not any("strange" in part for parts in labels for part in parts)
    assert not any("PROPFIND" in parts for parts in labels)
