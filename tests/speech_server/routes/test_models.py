"""What is installed, what could be, what is in memory."""

from __future__ import annotations

import httpx
import pytest

from tests.conftest import KOKORO, PIPER, WHISPER


def test_the_list_has_the_fields_of_openai_and_speaches(client: httpx.Client):
    body = client.get("/v1/models").json()
    assert body["object"] == "list"
    models = {model["id"]: model for model in body["data"]}
    assert {WHISPER, KOKORO, PIPER} <= set(models)
    assert models[WHISPER]["task"] == "automatic-speech-recognition"
    assert "en" in models[WHISPER]["language"]
    for model in models.values():
        assert model["object"] == "model"
        assert isinstance(model["created"], int)
        assert isinstance(model["owned_by"], str)
    kokoro = models[KOKORO]
    assert kokoro["sample_rate"] == 24_000
    heart = next(voice for voice in kokoro["voices"] if voice["id"] == "af_heart")
    assert heart == {"id": "af_heart", "name": "af_heart", "language": "en-us", "gender": "female"}


def test_aliases_of_installed_models_are_listed(client: httpx.Client):
    models = {model["id"]: model for model in client.get("/v1/models").json()["data"]}
    assert models["whisper-1"]["task"] == "automatic-speech-recognition"
    assert models["tts-1"]["voices"]
    assert models["tts-1"]["root"] == KOKORO


TASKS = (
    "automatic-speech-recognition",
    "text-to-speech",
    "voice-activity-detection",
    "speaker-embedding",
    "speaker-diarization",
)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("path", ["/v1/models", "/v1/registry"])
def test_the_lists_can_be_narrowed_to_a_task(client: httpx.Client, path: str, task: str):
    models = client.get(path, params={"task": task}).json()["data"]
    assert {model["task"] for model in models} == ({task} if task != "speaker-diarization" else set())


@pytest.mark.parametrize("name", [WHISPER, WHISPER.replace("/", "%2F"), "whisper-1", KOKORO])
def test_one_model_by_id_or_alias(client: httpx.Client, name: str):
    model = client.get(f"/v1/models/{name}").json()
    assert model["id"] in (WHISPER, KOKORO)


def test_the_registry_answers_without_a_network(client: httpx.Client):
    ids = {model["id"] for model in client.get("/v1/registry").json()["data"]}
    assert {"Systran/faster-whisper-tiny.en", KOKORO, "onnx-community/pyannote-segmentation-3.0"} <= ids


def test_a_download_of_what_is_installed_is_201_and_costs_nothing(client: httpx.Client):
    answer = client.post(f"/v1/models/{WHISPER}")
    assert (answer.status_code, answer.json()["detail"]) == (201, f"Model '{WHISPER}' already exists")


def test_open_webui_finds_models_and_voices(client: httpx.Client):
    models = client.get("/v1/audio/models").json()["models"]
    assert {"text-to-speech"} == {model["task"] for model in models}
    voices = client.get("/v1/audio/voices").json()["voices"]
    assert {"id": "af_heart", "model_id": KOKORO}.items() <= next(v for v in voices if v["id"] == "af_heart").items()
    assert PIPER in {voice["model_id"] for voice in voices}


def test_every_listed_voice_can_be_sent_back_by_its_name(client: httpx.Client):
    for voice in client.get("/v1/audio/voices").json()["voices"]:
        order = {"model": voice["model_id"], "voice": voice["name"], "input": "...", "response_format": "pcm"}
        refused = client.post("/v1/audio/speech", json=order).json()
        # What is wrong with the text is found after what is wrong with the voice.
        assert refused["error"]["param"] == "input", refused


@pytest.mark.parametrize("name", ["silero_vad_v5"])
def test_a_model_is_loaded_listed_and_unloaded(client: httpx.Client, name: str):
    client.delete(f"/api/ps/{name}")
    loaded = client.post(f"/api/ps/{name}")
    assert (loaded.status_code, loaded.json()["message"]) == (201, f"Model '{name}' loaded")
    again = client.post(f"/api/ps/{name}")
    assert (again.status_code, again.json()["error"]["code"]) == (409, "model_loaded")
    listed = client.get("/api/ps").json()
    assert "silero_vad_v6" in listed["models"]
    assert all(model["memory_bytes"] > 0 and model["references"] == 0 for model in listed["details"])
    assert client.delete(f"/api/ps/{name}").json()["message"] == f"Model '{name}' unloaded"
    assert "silero_vad_v6" not in client.get("/api/ps").json()["models"]
    assert client.delete(f"/api/ps/{name}").status_code == 404


def test_a_model_in_use_is_not_unloaded(client: httpx.Client, server_url: str):
    with httpx.stream(
        "POST", f"{server_url}/v1/audio/speech", json={"model": PIPER, "input": "One. Two. Three. " * 400}, timeout=60
    ) as speaking:
        audio = speaking.iter_bytes()  # held: httpx hangs up when the iterator goes
        next(audio)
        refused = client.delete(f"/api/ps/{PIPER}")
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "model_in_use")
        assert PIPER in client.get("/api/ps").json()["models"]
