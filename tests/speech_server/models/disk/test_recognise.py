"""Which engine a folder is for, and whether it is complete."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from speech_server.engines.kokoro import phonemes
from speech_server.models.disk.recognise import describe, engine_of, offered, recognise, wanted
from tests.speech_server.models.conftest import PIPER_CONFIG, kokoro_folder, piper_folder, whisper_folder
from tests.speech_server.networks import pyannote_folder, wespeaker_folder


def test_each_engine_is_known_by_its_files(tmp_path: Path):
    assert recognise(whisper_folder(tmp_path / "whisper")) == "whisper"
    assert recognise(kokoro_folder(tmp_path / "kokoro")) == "kokoro"
    assert recognise(piper_folder(tmp_path / "piper")) == "piper"
    assert recognise(wespeaker_folder(tmp_path / "wespeaker")) == "wespeaker"
    assert recognise(pyannote_folder(tmp_path / "pyannote")) == "pyannote"


@pytest.mark.parametrize("missing", ["model.bin", "config.json", "tokenizer.json", "vocabulary.txt"])
def test_a_whisper_folder_that_lacks_a_file_is_no_model(tmp_path: Path, missing: str):
    (whisper_folder(tmp_path) / missing).unlink()
    assert recognise(tmp_path) is None


def test_an_empty_file_and_a_broken_link_count_as_missing(tmp_path: Path):
    folder = whisper_folder(tmp_path)
    (folder / "model.bin").write_bytes(b"")
    assert recognise(folder) is None
    (folder / "model.bin").unlink()
    (folder / "model.bin").symlink_to(tmp_path / "nowhere")
    assert recognise(folder) is None


def test_a_folder_that_is_not_there_is_no_model(tmp_path: Path):
    assert recognise(tmp_path / "nowhere") is None


def test_an_onnx_model_that_is_no_voice_is_not_taken_for_piper(tmp_path: Path):
    (piper_folder(tmp_path) / "config.json").write_text('{"model_type": "bert"}')
    assert recognise(tmp_path) is None


def test_piper_voices_under_their_original_names_are_known(tmp_path: Path):
    (tmp_path / "de_DE-tester-medium.onnx").write_bytes(b"onnx")
    (tmp_path / "de_DE-tester-medium.onnx.json").write_text(PIPER_CONFIG)
    found = describe("someone/tester", tmp_path, ())
    assert found is not None
    assert (found.engine, found.voices[0].id, found.sample_rate) == ("piper", "tester", 22050)


def test_only_files_an_engine_opens_are_wanted():
    names = [
        "README.md",
        "model.bin",
        "config.json",
        "tokenizer.json",
        "vocabulary.json",
        "onnx/model.onnx",
        "x.safetensors",
    ]
    assert sorted(wanted(names)) == ["config.json", "model.bin", "tokenizer.json", "vocabulary.json"]
    assert wanted(["README.md", "onnx/model.onnx"]) == []


def test_of_wespeaker_s_repository_only_the_network_is_wanted():
    names = [".gitattributes", "README.md", "avg_model", "config.yaml", "voxceleb_resnet34_LM.onnx"]
    assert wanted(names) == ["voxceleb_resnet34_LM.onnx"]


def test_of_pyannote_s_repository_only_the_whole_network_is_wanted():
    names = ["README.md", "config.json", "onnx/model.onnx", "onnx/model_int8.onnx", "preprocessor_config.json"]
    assert wanted(names) == ["onnx/model.onnx", "preprocessor_config.json"]
    assert offered("onnx-community/pyannote-segmentation-3.0", names) == "pyannote"
    assert offered("onnx-community/wav2vec2-base", names) is None


def test_another_network_in_an_onnx_folder_is_not_taken_for_pyannote(tmp_path: Path):
    settings = pyannote_folder(tmp_path) / "preprocessor_config.json"
    settings.write_text('{"feature_extractor_type": "Wav2Vec2FeatureExtractor"}')
    assert recognise(tmp_path) is None


def test_files_in_subfolders_do_not_make_a_model():
    assert engine_of(["a/model.onnx", "a/config.json"]) is None


def test_a_piper_model_with_several_speakers_has_several_voices(tmp_path: Path):
    config = json.loads(PIPER_CONFIG) | {"speaker_id_map": {"anna": 0, "bert": 1}}
    (piper_folder(tmp_path) / "config.json").write_text(json.dumps(config))
    found = describe("someone/several", tmp_path, ())
    assert found is not None
    assert [(voice.id, voice.language) for voice in found.voices] == [("anna", "de-de"), ("bert", "de-de")]
    assert found.languages == ("de-de",)


def test_kokoro_voices_are_those_in_the_file(tmp_path: Path):
    found = describe("someone/kokoro", kokoro_folder(tmp_path), ())
    assert found is not None
    assert [(voice.id, voice.language, voice.gender) for voice in found.voices] == [
        ("af_heart", "en-us", "female"),
        ("bm_george", "en-gb", "male"),
    ]


def test_voices_nobody_here_can_read_for_are_not_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(phonemes._EXTRAS, "zh", ("no_such_front_end",))
    found = describe("someone/kokoro", kokoro_folder(tmp_path, ("af_heart", "zm_yunyang")), ())
    assert found is not None
    assert [voice.id for voice in found.voices] == ["af_heart"]
    assert found.languages == ("en-us",)


def test_an_english_only_whisper_says_so(tmp_path: Path):
    found = describe("someone/whisper-base.en", whisper_folder(tmp_path), ("en", "de"))
    assert found is not None
    assert found.languages == ("en",)
