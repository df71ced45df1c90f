"""Every job in examples/jobs is answered as the documents say: the real SDK, worker, server and models."""

from __future__ import annotations

import base64
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import KOKORO, PIPER, ROOT, WHISPER
from tests.local_runpod.local_platform import LocalPlatform
from tests.speech_server.voices import SAID, TRUTH
from tests.talking import nearly

JOBS = {path.stem: json.loads(path.read_text())["input"] for path in sorted((ROOT / "examples/jobs").glob("*.json"))}
SPOKEN = "the quick brown fox jumps over the lazy dog speech on demand paid by the second"


@pytest.fixture(scope="module")
def platform() -> Iterator[LocalPlatform]:
    with LocalPlatform([sys.executable, "-u", "handler.py"], env={"PRELOAD_MODELS": WHISPER}) as running:
        yield running


def answer(platform: LocalPlatform, job: dict[str, Any]) -> Any:
    ended = platform.runsync(job)
    assert ended["status"] == "COMPLETED", ended
    return ended["output"]


def words(text: str) -> str:
    return " ".join(re.findall(r"[a-z']+", text.lower()))


def heard(platform: LocalPlatform, audio: str) -> str:
    job = {"path": "/v1/audio/transcriptions", "body": {"model": WHISPER, "language": "en"}, "file_base64": audio}
    return words(answer(platform, job)["text"])


@pytest.mark.parametrize(("name", "kind"), [("speech-kokoro", "audio/wav"), ("speech-piper", "audio/mpeg")])
def test_speech_comes_back_as_audio_that_says_the_input(platform: LocalPlatform, name: str, kind: str):
    output = answer(platform, JOBS[name])
    assert {key: output[key] for key in ("status", "content_type")} == {"status": "success", "content_type": kind}
    base64.b64decode(output["audio_content"], validate=True)
    said, back = words(JOBS[name]["body"]["input"].replace("-", " ")), heard(platform, output["audio_content"])
    # Whisper base is not sure of the name, nor of the "to" of text-to-speech.
    wanted = said.replace("runpod", "[a-z ]{5,8}").replace("text to", "text (to|a)")
    assert re.fullmatch(wanted, back) or back == nearly(said)


def test_a_transcription_is_its_text(platform: LocalPlatform):
    assert words(answer(platform, JOBS["transcription-json"])["text"]) == SPOKEN


def test_verbose_json_has_segments_and_words_in_order(platform: LocalPlatform):
    output = answer(platform, JOBS["transcription-words"])
    assert output["language"] == "en"
    assert words(" ".join(word["word"] for word in output["words"])) == SPOKEN
    times = [time for word in output["words"] for time in (word["start"], word["end"])]
    assert times == sorted(times)
    assert 0 <= times[0] < times[-1] <= output["duration"]


def test_subtitles_come_back_as_text(platform: LocalPlatform):
    output = answer(platform, JOBS["transcription-srt"])
    assert output["text"].startswith("1\n00:00:00,")
    assert words(re.sub(r"[\d:,>-]+", "", output["text"])) == SPOKEN


def test_a_conversation_says_whose_its_words_are(platform: LocalPlatform):
    output = answer(platform, JOBS["diarize"])
    told = {(segment["speaker"], words(segment["text"])) for segment in output["segments"]}
    assert {speaker for speaker, _ in told} == {"A", "B", "C"}
    said = {speaker: " ".join(text for who, text in told if who == speaker) for speaker in "ABC"}
    for turn, sentence in zip(TRUTH, SAID, strict=True):
        heard = said[turn.speaker].split()
        assert sum(word in heard for word in sentence.split()) >= len(sentence.split()) - 1, said


def test_spanish_speech_becomes_english_text(platform: LocalPlatform):
    text = words(answer(platform, JOBS["translation-spanish"])["text"])
    assert {"madrid", "capital"} <= set(text.split())
    assert re.search("spain|spanish", text)


def test_voice_activity_is_a_list_of_spans_in_milliseconds(platform: LocalPlatform):
    spans = answer(platform, JOBS["voice-activity"])
    assert spans
    assert all(0 <= span["start"] < span["end"] for span in spans)


@pytest.mark.parametrize("name", ["models-list", "registry"])
def test_lists_of_models_name_the_default_ones(platform: LocalPlatform, name: str):
    tasks = {model["id"]: model["task"] for model in answer(platform, JOBS[name])["data"]}
    assert tasks[WHISPER] == "automatic-speech-recognition"
    assert tasks[KOKORO] == tasks[PIPER] == "text-to-speech"


def test_a_model_is_unloaded_and_loaded_again(platform: LocalPlatform):
    assert WHISPER in answer(platform, JOBS["models-loaded"])["models"]
    answer(platform, JOBS["model-unload"])
    assert WHISPER not in answer(platform, JOBS["models-loaded"])["models"]
    answer(platform, JOBS["model-load"])
    assert WHISPER in answer(platform, JOBS["models-loaded"])["models"]


def test_health_is_an_answer(platform: LocalPlatform):
    assert answer(platform, JOBS["health"])["status"] == "ok"


def test_every_example_is_tested_here():
    tested = set(re.findall(r'"([a-z]+-?[a-z]*)"\]?', Path(__file__).read_text()))
    assert set(JOBS) <= tested
