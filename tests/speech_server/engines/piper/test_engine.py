from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from speech_server.engines.interfaces import EngineArgs, SpeakOptions
from speech_server.engines.kokoro.voices import OPENAI_VOICES
from speech_server.engines.piper import engine
from speech_server.errors import InvalidRequest, ModelBroken
from tests.conftest import PIPER
from tests.speech_server.conftest import model_folder

if TYPE_CHECKING:
    from speech_server.engines.piper.engine import PiperSpeaker

pytestmark = pytest.mark.anyio

ENGLISH = "The quick brown fox jumps over the lazy dog. Tomorrow morning the weather will be warm and sunny."


def config() -> dict[str, Any]:
    read: dict[str, Any] = json.loads((model_folder(PIPER) / "config.json").read_text())
    return read


def folder_with(tmp_path: Path, changed: dict[str, Any]) -> Path:
    (tmp_path / "model.onnx").symlink_to(model_folder(PIPER) / "model.onnx")
    (tmp_path / "config.json").write_text(json.dumps(changed))
    return tmp_path


@pytest.mark.parametrize("voice", ["joe", "Joe", "en_US-joe-medium", PIPER, "default", "0", *OPENAI_VOICES])
async def test_its_own_names_and_openais_mean_its_speaker(piper: PiperSpeaker, voice: str):
    piper.check(SpeakOptions(voice))


@pytest.mark.parametrize("language", ["en", "en-US", "en_GB"])
async def test_its_language_may_be_named(piper: PiperSpeaker, language: str):
    piper.check(SpeakOptions("joe", language=language))


async def test_speakers_of_one_model_are_its_voices(tmp_path: Path):
    many = config() | {"num_speakers": 3, "speaker_id_map": {"p225": 0, "P226": 1, "p227": 2}, "default_speaker_id": 2}
    speaker = engine.load(folder_with(tmp_path, many), EngineArgs())
    try:
        assert list(speaker.voices) == ["p225", "P226", "p227"]
        numbers = [speaker._speaker(voice) for voice in ("p225", "p226", "1", "joe", "alloy", "default")]
        assert numbers == [0, 1, 1, 2, 2, 2]
        with pytest.raises(InvalidRequest, match="p225, P226, p227"):
            speaker.check(SpeakOptions("p999"))
    finally:
        speaker.close()


@pytest.mark.parametrize(
    "changed",
    [{}, {"audio": {"sample_rate": 22_050}}, {"phoneme_type": "no such"}, {"phoneme_type": "pinyin"}, {"espeak": {}}],
)
async def test_a_config_it_cannot_use_is_broken(tmp_path: Path, changed: dict[str, Any]):
    given = config() | changed if "audio" not in changed and changed else changed
    with pytest.raises(ModelBroken):
        engine.load(folder_with(tmp_path, given), EngineArgs())


async def test_a_voice_under_its_own_file_name_loads(tmp_path: Path):
    (tmp_path / "en_US-joe-medium.onnx").symlink_to(model_folder(PIPER) / "model.onnx")
    (tmp_path / "en_US-joe-medium.onnx.json").symlink_to(model_folder(PIPER) / "config.json")
    speaker = engine.load(tmp_path, EngineArgs())
    assert list(speaker.voices) == ["joe"]
    speaker.close()
