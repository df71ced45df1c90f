from __future__ import annotations

import json
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soxr

from speech_server.domain import RATE, Samples
from speech_server.engines.interfaces import EngineArgs, SpeakOptions
from speech_server.engines.kokoro.voices import OPENAI_VOICES
from speech_server.engines.piper import engine
from speech_server.errors import InvalidRequest, ModelBroken
from tests.conftest import PIPER
from tests.speech_server.conftest import model_folder
from tests.speech_server.transcribing import hear, text_of
from tests.talking import nearly, plain

if TYPE_CHECKING:
    from speech_server.engines.piper.engine import PiperSpeaker
    from speech_server.engines.whisper.engine import WhisperTranscriber

pytestmark = pytest.mark.anyio

ENGLISH = "The quick brown fox jumps over the lazy dog. Tomorrow morning the weather will be warm and sunny."


async def spoken(speaker: PiperSpeaker, text: str, options: SpeakOptions) -> list[Samples]:
    async with aclosing(speaker.speak(text, options)) as pieces:
        return [piece async for piece in pieces]


def config() -> dict[str, Any]:
    read: dict[str, Any] = json.loads((model_folder(PIPER) / "config.json").read_text())
    return read


def folder_with(tmp_path: Path, changed: dict[str, Any]) -> Path:
    (tmp_path / "model.onnx").symlink_to(model_folder(PIPER) / "model.onnx")
    (tmp_path / "config.json").write_text(json.dumps(changed))
    return tmp_path


async def test_english_is_understood(piper: PiperSpeaker, transcriber: WhisperTranscriber):
    samples = np.concatenate(await spoken(piper, ENGLISH, SpeakOptions("joe", early=False)))
    (transcript,) = await hear(transcriber, soxr.resample(samples, piper.sample_rate, RATE).astype(np.float32))
    assert plain(text_of(transcript.segments)) == nearly(ENGLISH)


async def test_it_speaks_piece_by_piece_with_pauses(piper: PiperSpeaker):
    text = "The harbour was quiet that morning, and the fog had not yet lifted. It was cold on the water."
    pieces = await spoken(piper, text, SpeakOptions("joe"))
    assert len(pieces) == 3
    for piece in pieces[1:]:
        assert not piece[-int(0.24 * piper.sample_rate) :].any()
        assert np.abs(piece).max() > 0.1


@pytest.mark.parametrize("voice", ["joe", "Joe", "en_US-joe-medium", PIPER, "default", "0", *OPENAI_VOICES])
async def test_its_own_names_and_openais_mean_its_speaker(piper: PiperSpeaker, voice: str):
    piper.check(SpeakOptions(voice))


@pytest.mark.parametrize(
    ("options", "param"),
    [
        (SpeakOptions("amy"), "voice"),
        (SpeakOptions("1"), "voice"),
        (SpeakOptions("joe", 0.2), "speed"),
        (SpeakOptions("joe", 4.1), "speed"),
        (SpeakOptions("joe", language="de"), "language"),
    ],
)
async def test_what_it_cannot_do_is_refused_at_once(piper: PiperSpeaker, options: SpeakOptions, param: str):
    with pytest.raises(InvalidRequest) as refused:
        piper.speak("Hello", options)
    assert refused.value.param == param


@pytest.mark.parametrize("language", ["en", "en-US", "en_GB"])
async def test_its_language_may_be_named(piper: PiperSpeaker, language: str):
    piper.check(SpeakOptions("joe", language=language))


@pytest.mark.parametrize("speed", [0.5, 2.0])
async def test_speed_changes_the_length(piper: PiperSpeaker, speed: float):
    plain = np.concatenate(await spoken(piper, ENGLISH, SpeakOptions("joe")))
    changed = np.concatenate(await spoken(piper, ENGLISH, SpeakOptions("joe", speed)))
    # Not the whole of it: Piper rounds the length of every sound up.
    assert len(plain) / len(changed) == pytest.approx(speed, rel=0.25)


@pytest.mark.parametrize("speed", [0.25, 4.0])
async def test_a_speed_beyond_its_own_is_stretched(piper: PiperSpeaker, speed: float):
    plain = await spoken(piper, ENGLISH, SpeakOptions("joe"))
    changed = await spoken(piper, ENGLISH, SpeakOptions("joe", speed))
    assert len(plain) == len(changed)
    # Piper never says it twice alike: 0.03 for the stretching, the rest for Piper.
    assert sum(map(len, plain)) / sum(map(len, changed)) == pytest.approx(speed, rel=0.1)


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
