"""A server on whose disk WeSpeaker and pyannote lie: they are listed and used, and who speaks at once is told."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise

import httpx
import pytest

from speech_server.models.disk.cache import Cache
from tests.conftest import ENCODER, ROOT, WHISPER, ServerProcess
from tests.sound import wav
from tests.speech_server.models.conftest import install
from tests.speech_server.networks import HIGH, LOW, conversation, pyannote_folder, wespeaker_folder

WESPEAKER, PYANNOTE = "Wespeaker/wespeaker-voxceleb-resnet34-LM", "onnx-community/pyannote-segmentation-3.0"
SAID = [("A", 0.5, 9.0), ("B", 4.0, 6.0), ("B", 10.0, 14.0)]
SOUND = conversation(15, [({"A": LOW, "B": HIGH}[who], start, end) for who, start, end in SAID])
TASKS = {WESPEAKER: "speaker-embedding", PYANNOTE: "speaker-segmentation"}


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    cache = Cache(tmp_path_factory.mktemp("hub"))
    install(cache, WESPEAKER, wespeaker_folder)
    install(cache, PYANNOTE, pyannote_folder)
    return {
        "MODEL_READ_CACHES": str(cache.root),
        "DEFAULT_SPEAKER_MODEL": WESPEAKER,
        "DEFAULT_SEGMENTATION_MODEL": PYANNOTE,
    }


@pytest.fixture(scope="module")
def equipped(env: dict[str, str]) -> Iterator[httpx.Client]:
    server = ServerProcess(env)
    with httpx.Client(base_url=server.url, timeout=120) as client:
        yield client
    server.stop()


def ask(client: httpx.Client, path: str, **form: str) -> httpx.Response:
    return client.post(path, data=form, files={"file": ("tones.wav", wav((SOUND * 32767).astype("<i2").tobytes()))})


def assert_said(turns: list[tuple[str, float, float]]) -> None:
    assert [who for who, *_ in turns] == [who for who, *_ in SAID]
    for (_, *times), (_, *said) in zip(turns, SAID, strict=True):
        assert times == pytest.approx(said, abs=0.12)


def test_who_speaks_at_once_has_turns_that_overlap(equipped: httpx.Client):
    answer = ask(equipped, "/v1/audio/diarization", speaker_embeddings="true").json()
    assert_said([(turn["speaker"], turn["start"], turn["end"]) for turn in answer["segments"]])
    assert [len(speaker["embedding"]) for speaker in answer["speakers"]] == [256, 256]
    lines = ask(equipped, "/v1/audio/diarization", response_format="rttm").text.splitlines()
    fields = [line.split() for line in lines]
    assert_said([(line[7], float(line[3]), float(line[3]) + float(line[4])) for line in fields])


def test_a_transcription_uses_them(equipped: httpx.Client):
    form = {"model": WHISPER, "language": "en", "response_format": "verbose_json"}
    answer = ask(equipped, "/v1/audio/transcriptions", diarize="true", speaker_embeddings="true", **form)
    seconds = {speaker["speaker"]: speaker["seconds"] for speaker in answer.json()["speakers"]}
    assert seconds == pytest.approx({"A": 8.5, "B": 6}, abs=0.2)


def test_an_encoder_can_be_chosen(equipped: httpx.Client):
    """Two encoders, vectors of two sizes; pyannote's names mean the default."""
    own, alias, other = (
        ask(equipped, "/v1/audio/speech/embedding", model=name).json()["data"][0]["embedding"]
        for name in (WESPEAKER, "pyannote/wespeaker-voxceleb-resnet34-LM", ENCODER)
    )
    assert own == alias
    assert (len(own), len(other)) == (256, 192)


@pytest.mark.parametrize("model_id", TASKS)
def test_they_are_listed_with_their_task(equipped: httpx.Client, env: dict[str, str], model_id: str):
    models = equipped.get("/v1/models", params={"task": TASKS[model_id]}).json()["data"]
    assert model_id in [model["id"] for model in models]
    command = [sys.executable, "-m", "speech_server", "models", "list", model_id]
    listed = subprocess.run(command, cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True, check=True)
    assert listed.stdout.startswith(f"{model_id}: {TASKS[model_id]}, ")


def test_a_segmentation_tells_no_voices_apart_alone(equipped: httpx.Client):
    answer = ask(equipped, "/v1/audio/diarization", model=PYANNOTE)
    assert answer.status_code == 404
    assert "speaker-segmentation" in answer.json()["error"]["message"]


def test_silero_can_be_chosen_where_pyannote_is_installed(env: dict[str, str]):
    server = ServerProcess({**env, "DEFAULT_SEGMENTATION_MODEL": "silero_vad"})
    try:
        with httpx.Client(base_url=server.url, timeout=120) as client:
            segments = ask(client, "/v1/audio/diarization").json()["segments"]
            loaded = client.get("/api/ps").text
    finally:
        server.stop()
    assert WESPEAKER in loaded
    assert PYANNOTE not in loaded
    assert all(one["end"] <= other["start"] for one, other in pairwise(segments))


def test_a_setting_that_names_another_kind_of_model_is_refused(env: dict[str, str]):
    server = ServerProcess({**env, "DEFAULT_SEGMENTATION_MODEL": WHISPER})
    try:
        with httpx.Client(base_url=server.url, timeout=120) as client:
            answer = ask(client, "/v1/audio/diarization")
    finally:
        server.stop()
    assert answer.status_code == 404
    assert "automatic-speech-recognition" in answer.json()["error"]["message"]
