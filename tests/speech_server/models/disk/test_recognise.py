"""Which engine a folder is for, and whether it is complete."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from speech_server.engines.interfaces import EngineArgs
from speech_server.engines.kokoro import phonemes
from speech_server.errors import ModelBroken
from speech_server.models.disk.recognise import describe, engine_of, files_in, offered, recognise, wanted
from tests.speech_server.engines.kokoro.tiny import FILES
from tests.speech_server.engines.kokoro.tiny import write_model as write_kokoro
from tests.speech_server.engines.speecht5.tiny import write_model
from tests.speech_server.models.conftest import (
    PIPER_CONFIG,
    kokoro_folder,
    parakeet_folder,
    piper_folder,
    whisper_folder,
)
from tests.speech_server.networks import pyannote_folder, smart_turn_folder, wespeaker_folder


def test_each_engine_is_known_by_its_files(tmp_path: Path):
    assert recognise(whisper_folder(tmp_path / "whisper")) == "whisper"
    assert recognise(kokoro_folder(tmp_path / "kokoro")) == "kokoro"
    assert recognise(piper_folder(tmp_path / "piper")) == "piper"
    assert recognise(parakeet_folder(tmp_path / "parakeet")) == "parakeet"
    assert recognise(wespeaker_folder(tmp_path / "wespeaker")) == "wespeaker"
    assert recognise(pyannote_folder(tmp_path / "pyannote")) == "pyannote"
    assert recognise(smart_turn_folder(tmp_path / "smart_turn")) == "smart_turn"


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


PARAKEET = [  # what the real repositories hold
    ".gitattributes", "README.md", "config.json", "decoder_joint-model.int8.onnx", "decoder_joint-model.onnx",
    "encoder-model.int8.onnx", "encoder-model.onnx", "encoder-model.onnx.data", "nemo128.onnx", "vocab.txt",
]  # fmt: skip


@pytest.mark.parametrize(("gpu", "precision"), [(False, "int8.onnx"), (True, "onnx")])
def test_of_a_parakeet_the_precision_for_this_installation_is_wanted(
    monkeypatch: pytest.MonkeyPatch, gpu: bool, precision: str
):
    monkeypatch.setattr("speech_server.models.disk.recognise.is_for_cuda", lambda: gpu)
    models = {f"encoder-model.{precision}", f"decoder_joint-model.{precision}"}
    weights = {"encoder-model.onnx.data"} if gpu else set()
    assert set(wanted(PARAKEET)) == {*models, *weights, "config.json", "vocab.txt"}
    without_int8 = [name for name in PARAKEET if "int8" not in name]
    assert "encoder-model.onnx.data" in wanted(without_int8)


@pytest.mark.parametrize("missing", ["encoder-model.onnx.data", "decoder_joint-model.onnx", "vocab.txt"])
def test_a_parakeet_folder_that_lacks_a_file_is_no_model(tmp_path: Path, missing: str):
    parakeet_folder(tmp_path, float32=True)
    for name in (missing, "encoder-model.int8.onnx"):
        (tmp_path / name).unlink()
    assert recognise(tmp_path) is None


@pytest.mark.parametrize(("tokens", "languages"), [(8_193, 25), (1_025, 1)])
def test_a_parakeet_s_languages_are_told_by_its_vocabulary(tmp_path: Path, tokens: int, languages: int):
    found = describe("someone/ears", parakeet_folder(tmp_path, tokens=tokens), ())
    assert found is not None
    assert (found.engine, len(found.languages), "en" in found.languages) == ("parakeet", languages, True)


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("config.json", '{"model_type": "nemo-conformer-rnnt"}', "only nemo-conformer-tdt"),
        ("config.json", "[]", "only nemo-conformer-tdt"),
        ("config.json", "{", "JSON"),
        ("vocab.txt", "one two\n", "no vocabulary"),
        ("vocab.txt", "x" * 2_000_000, "more than"),
    ],
)
def test_a_parakeet_that_cannot_be_is_broken(tmp_path: Path, name: str, content: str, complaint: str):
    (parakeet_folder(tmp_path) / name).write_text(content)
    with pytest.raises(ModelBroken, match=complaint):
        describe("someone/ears", tmp_path, ())


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


# As the hub lists Xenova/speecht5_tts; precisions that nobody asked for are left there.
SPEECHT5 = [
    "README.md", "added_tokens.json", "config.json", "generation_config.json", "preprocessor_config.json",
    "quantize_config.json", "special_tokens_map.json", "spm_char.model", "tokenizer.json", "tokenizer_config.json",
    *(
        f"onnx/{network}{precision}.onnx"
        for network in ("encoder_model", "decoder_model", "decoder_with_past_model", "decoder_model_merged",
                        "decoder_postnet_and_vocoder")
        for precision in ("", "_fp16", "_quantized")
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    "odd", [{"max_tokens_per_step": 10**9}, {"max_tokens_per_step": "10"}, {"subsampling_factor": None},
            {"features_size": "../x"}], ids=str,
)  # fmt: skip
def test_a_parakeet_whose_numbers_would_never_end_or_fail_is_no_model(tmp_path: Path, odd: dict[str, object]):
    """The library takes them as they are: tokens are counted until the number is met."""
    config = parakeet_folder(tmp_path) / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | odd))
    with pytest.raises(ModelBroken, match=next(iter(odd))):
        describe("someone/parakeet", tmp_path, ())


def test_of_speecht5_one_precision_is_wanted_and_its_voices():
    assert engine_of(SPEECHT5) == "speecht5"
    assert sorted(wanted([*SPEECHT5, "voices/slt.bin", "pytorch_model.bin", "voices/readme.txt"])) == [
        "onnx/decoder_model_merged.onnx",
        "onnx/decoder_postnet_and_vocoder.onnx",
        "onnx/encoder_model.onnx",
        "tokenizer.json",
        "voices/slt.bin",
    ]


@pytest.mark.parametrize("missing", ["tokenizer.json", "onnx/encoder_model_quantized.onnx"])
def test_a_speecht5_that_lacks_a_part_is_no_model(missing: str):
    quantised = [name for name in SPEECHT5 if "onnx" not in name or "_quantized" in name]
    assert engine_of(quantised) == "speecht5"
    assert engine_of([name for name in quantised if name != missing]) is None


def test_a_speecht5_speaks_the_language_it_is_said_to_speak_in_the_voices_it_has(tmp_path: Path):
    folder = write_model(tmp_path, voices={"zoe": 0.1, "slt": 0.2})
    assert recognise(folder) == "speecht5"
    args = EngineArgs(extra={"language": "es"}, voices={"me": Path("/anywhere.bin")})
    found = describe("someone/speecht5", folder, (), args=args)
    assert found is not None
    assert [(voice.id, voice.language) for voice in found.voices] == [("me", "es"), ("slt", "es"), ("zoe", "es")]
    assert (found.languages, found.sample_rate) == (("es",), 16_000)


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


def test_kokoro_as_it_is_released_comes_with_its_vocabulary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = write_kokoro(tmp_path)
    (folder / "README.md").write_text("what nobody opens")
    monkeypatch.setitem(phonemes._EXTRAS, "zh", ())
    found = describe("kokoro-zh", folder, ())
    assert found is not None
    assert (found.engine, len(found.voices), set(found.languages)) == ("kokoro", 103, {"en-us", "en-gb", "zh"})
    assert set(wanted(files_in(folder))) == set(FILES)
    (folder / "voices-v1.1-zh.bin").unlink()
    assert recognise(folder) is None


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
