"""Which models exist, by which names, and what an alias means."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech_server.engines.kokoro import phonemes
from speech_server.engines.kokoro.voices import LANGUAGES
from speech_server.engines.kokoro.voices import describe as kokoro_voice
from speech_server.errors import ConfigurationInvalid
from speech_server.models.catalog.listing import read_data
from speech_server.models.disk.cache import Cache
from speech_server.models.library.catalog import Catalog
from speech_server.settings import Settings
from tests.speech_server.models.conftest import install, kokoro_folder, piper_folder
from tests.speech_server.networks import pyannote_folder, wespeaker_folder

SAY_WORDS = ("automatic-speech-recognition", "text-to-speech")
BASE = "Systran/faster-whisper-base"
WESPEAKER = "Wespeaker/wespeaker-voxceleb-resnet34-LM"
PYANNOTE = "onnx-community/pyannote-segmentation-3.0"
KOKORO = "speaches-ai/Kokoro-82M-v1.0-ONNX"


@pytest.mark.parametrize(
    ("name", "model_id"),
    [
        ("openai/whisper-tiny", "Systran/faster-whisper-tiny"),
        ("openai/whisper-base", BASE),
        ("openai/whisper-base.en", "Systran/faster-whisper-base.en"),
        ("openai/whisper-large-v3", "Systran/faster-whisper-large-v3"),
        ("openai/whisper-large-v3-turbo", "deepdml/faster-whisper-large-v3-turbo-ct2"),
        ("OpenVINO/whisper-base", BASE),
        ("OpenVINO/whisper-base-fp16-ov", BASE),
        ("OpenVINO/whisper-large-v3-int4-ov", "Systran/faster-whisper-large-v3"),
        ("OpenVINO/distil-whisper-large-v3-int8-ov", "Systran/faster-distil-whisper-large-v3"),
        ("distil-whisper/distil-large-v3", "Systran/faster-distil-whisper-large-v3"),
        ("whisper-large-v3-turbo", "deepdml/faster-whisper-large-v3-turbo-ct2"),
        ("whisper-base", BASE),
        ("base", BASE),
        ("large", "Systran/faster-whisper-large-v3"),
        ("silero_vad_v5", "silero_vad_v6"),
        ("silero_vad", "silero_vad_v6"),
        (BASE, BASE),
        ("speaches-ai/piper-en_US-joe-medium", "speaches-ai/piper-en_US-joe-medium"),
        ("gpt-4o", "gpt-4o"),
        ("someone/whisper-base-finetuned", "someone/whisper-base-finetuned"),
        ("", ""),
    ],
)
def test_a_name_means_a_model(catalog: Catalog, name: str, model_id: str):
    assert catalog.resolve(name) == model_id


@pytest.mark.parametrize("alias", ["whisper-1", "gpt-4o-transcribe", "gpt-4o-mini-transcribe"])
def test_whisper_1_is_the_default_model_until_another_whisper_is_installed(catalog: Catalog, cache: Cache, alias: str):
    assert catalog.resolve(alias) == "Systran/faster-whisper-large-v3"
    install(cache, "Systran/faster-whisper-tiny.en")
    assert catalog.resolve(alias) == "Systran/faster-whisper-tiny.en"
    install(cache, BASE)  # speaks more languages
    assert catalog.resolve(alias) == BASE
    install(cache, "Systran/faster-whisper-medium")  # hears better
    assert catalog.resolve(alias) == "Systran/faster-whisper-medium"
    install(cache, "Systran/faster-whisper-large-v3")
    assert catalog.resolve(alias) == "Systran/faster-whisper-large-v3"


def test_default_stt_model_wins_over_larger_ones_when_it_is_installed(cache: Cache):
    install(cache, BASE)
    install(cache, "Systran/faster-whisper-medium")
    assert Catalog(Settings(default_stt_model="whisper-base")).resolve("whisper-1") == BASE


@pytest.mark.parametrize("alias", ["tts-1", "tts-1-hd", "gpt-4o-mini-tts"])
def test_tts_1_is_the_kokoro_that_is_installed(catalog: Catalog, cache: Cache, alias: str):
    assert catalog.resolve(alias) == KOKORO
    install(cache, KOKORO + "-fp16", kokoro_folder)
    assert catalog.resolve(alias) == KOKORO + "-fp16"


@pytest.mark.parametrize(
    "alias", ["pyannote/speaker-diarization-community-1", "pyannote/wespeaker-voxceleb-resnet34-LM"]
)
def test_pyannote_is_the_voice_encoder_that_is_installed(catalog: Catalog, cache: Cache, alias: str):
    assert catalog.resolve(alias) == "resemblyzer"
    install(cache, WESPEAKER, wespeaker_folder)
    assert catalog.resolve(alias) == WESPEAKER
    found = catalog.find(WESPEAKER)
    assert found is not None
    assert (found.engine, found.task, found.licence) == ("wespeaker", "speaker-embedding", "CC-BY-4.0")


def test_segmentation_is_pyannote_s_where_it_is_installed_and_else_silero_s(catalog: Catalog, cache: Cache):
    assert catalog.resolve("pyannote/segmentation-3.0") == "silero_vad_v6"
    install(cache, PYANNOTE, pyannote_folder)
    assert catalog.resolve("pyannote/segmentation-3.0") == PYANNOTE
    found = catalog.find(PYANNOTE)
    assert found is not None
    assert (found.engine, found.task, found.licence) == ("pyannote", "speaker-segmentation", "MIT")
    chosen = Catalog(Settings(default_segmentation_model="silero_vad"))
    assert chosen.resolve("pyannote/segmentation-3.0") == "silero_vad_v6"


def test_the_users_aliases_win_and_may_lead_to_each_other(cache: Cache):
    aliases = {"whisper-1": "fast", "fast": "openai/whisper-tiny", "voice": "tts-1", BASE: "someone/mine"}
    Path("model_aliases.json").write_text(json.dumps(aliases))
    catalog = Catalog(Settings())
    assert catalog.resolve("whisper-1") == "Systran/faster-whisper-tiny"
    assert catalog.resolve("voice") == KOKORO
    assert catalog.resolve(BASE) == "someone/mine"
    assert catalog.aliases["fast"] == "Systran/faster-whisper-tiny"
    assert catalog.aliases["gpt-4o-transcribe"] == "Systran/faster-whisper-large-v3"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("[]", "one object"),
        ('{"a": 1}', "one object"),
        ('{"a": ""}', "one object"),
        ("{", "no JSON"),
        ('{"a": "b", "b": "a"}', "leads back to itself"),
        ('{"a": "a"}', "leads back to itself"),
    ],
)
def test_a_wrong_aliases_file_stops_the_start_and_says_why(cache: Cache, content: str, complaint: str):
    Path("model_aliases.json").write_text(content)
    with pytest.raises(ConfigurationInvalid, match=complaint):
        Catalog(Settings())


@given(st.text(max_size=60))
def test_resolving_never_fails_and_its_result_means_itself(name: str):
    catalog = Catalog(Settings())
    assert catalog.resolve(catalog.resolve(name)) == catalog.resolve(name)


def test_every_listed_model_is_described(catalog: Catalog):
    models = catalog.known()
    assert len({model.id for model in models}) == len(models) > 100
    for model in models:
        assert model.size_bytes > 1_000_000
        assert model.created > 1_500_000_000 or model.engine == "silero"
        assert model.languages or model.task not in SAY_WORDS  # a voice is one in any language
        assert model.licence
        assert model.owned_by
        assert bool(model.voices) == (model.task == "text-to-speech") == bool(model.sample_rate)
        assert re.fullmatch(r"[\w.-]+(/[\w.-]+)?", model.id, re.ASCII)


def test_kokoro_has_fifty_four_voices_in_nine_languages(catalog: Catalog):
    kokoro = catalog.find(KOKORO)
    assert kokoro is not None
    voices = [kokoro_voice(name) for name in read_data()["kokoro_voices"]]
    assert len(set(voices)) == 54
    assert set(LANGUAGES.values()) == {voice.language for voice in voices}
    # Listed are those whose language can be read here.
    assert kokoro.voices == tuple(voice for voice in voices if not phonemes.missing(voice.language))
    assert kokoro.languages == tuple(dict.fromkeys(voice.language for voice in kokoro.voices))
    assert {"en-us", "en-gb", "es", "fr-fr", "hi", "it", "pt-br"} <= set(kokoro.languages)


def test_only_large_v3_speaks_cantonese(catalog: Catalog):
    speakers = {model.id for model in catalog.known("automatic-speech-recognition") if "yue" in model.languages}
    assert {name for name in speakers if "large-v3" not in name} == set()
    assert "Systran/faster-whisper-large-v3" in speakers


def test_known_models_can_be_asked_for_by_task(catalog: Catalog):
    assert {model.engine for model in catalog.known("automatic-speech-recognition")} == {"whisper"}
    assert {model.engine for model in catalog.known("text-to-speech")} == {"kokoro", "piper"}
    assert {model.engine for model in catalog.known("voice-activity-detection")} == {"silero"}


def test_an_unlisted_model_is_described_from_its_files(catalog: Catalog, cache: Cache):
    assert catalog.find("someone/tester") is None
    folder = install(cache, "someone/tester", piper_folder)
    found = catalog.find("someone/tester")
    assert found is not None
    assert (found.engine, found.owned_by, found.voices[0].language) == ("piper", "someone", "de-de")
    assert found.size_bytes == sum(path.stat().st_size for path in folder.iterdir())


def test_settings_reach_whisper_models_listed_or_not(cache: Cache):
    install(cache, "someone/whisper")
    settings = Settings(whisper={"compute_type": "float32", "num_workers": 3})
    catalog = Catalog(settings)
    for name in ("someone/whisper", BASE):
        model = catalog.find(name)
        assert model is not None
        assert (model.args.compute_type, model.args.workers) == ("float32", 3)


def test_silero_is_always_there(catalog: Catalog):
    folder = catalog.folder("silero_vad_v6")
    assert folder is not None
    assert (folder / "silero_vad_v6.onnx").is_file()
