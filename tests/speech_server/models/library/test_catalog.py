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
from tests.speech_server.models.conftest import install, kokoro_folder, parakeet_folder, piper_folder, whisper_folder
from tests.speech_server.networks import pyannote_folder, smart_turn_folder, wespeaker_folder

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
        ("microsoft/speecht5_tts", "Xenova/speecht5_tts"),
        ("speecht5_tts_spanish", "Sandiago21/speecht5_finetuned_facebook_voxpopuli_spanish"),
        ("gpt-4o", "gpt-4o"),
        ("someone/whisper-base-finetuned", "someone/whisper-base-finetuned"),
        ("", ""),
    ],
)
def test_a_name_means_a_model(catalog: Catalog, name: str, model_id: str):
    assert catalog.resolve(name) == model_id


@pytest.mark.parametrize(
    "alias",
    [
        *("whisper-1", "gpt-4o-transcribe", "gpt-4o-mini-transcribe", "gpt-4o-mini-transcribe-2025-12-15"),
        *("gpt-transcribe", "gpt-live-transcribe", "gpt-realtime-whisper", "gpt-6-nano-transcribe-2031-01-02"),
    ],
)
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


V3, V2 = (f"istupakov/parakeet-tdt-0.6b-{version}-onnx" for version in ("v3", "v2"))


def test_parakeet_is_the_newest_that_is_installed(catalog: Catalog, cache: Cache):
    assert catalog.resolve("parakeet") == V3
    install(cache, V2, lambda folder: parakeet_folder(folder, tokens=1_025))
    assert catalog.resolve("parakeet") == V2
    install(cache, V3, parakeet_folder)
    assert catalog.resolve("parakeet") == V3
    models = [catalog.find(name) for name in (V3, V2)]
    assert [(len(model.languages), model.licence) for model in models if model] == [(25, "CC-BY-4.0"), (1, "CC-BY-4.0")]


def test_a_parakeet_of_one_s_own_is_known_by_its_files(cache: Cache, tmp_path: Path):
    folder = parakeet_folder(tmp_path / "calls", tokens=1_025)
    model = {"name": "calls", "url": folder.as_uri(), "args": {"workers": 3}}
    found = Catalog(Settings(models=json.dumps([model]))).find("calls")
    assert found is not None
    assert (found.engine, found.languages, found.args.workers) == ("parakeet", ("en",), 3)


def test_auto_is_parakeet_where_there_is_one_and_else_what_whisper_1_means(catalog: Catalog, cache: Cache):
    install(cache, BASE)
    assert catalog.resolve("auto") == BASE
    install(cache, V2, parakeet_folder)
    assert catalog.resolve("auto") == V2


def test_auto_and_the_user_s_aliases_of_it_leave_the_choice_to_the_request(cache: Cache):
    Path("model_aliases.json").write_text(json.dumps({"whisper-1": "ears", "ears": "auto", "other": BASE}))
    catalog = Catalog(Settings())
    names = ["auto", "whisper-1", "ears", "other", "parakeet", BASE, ""]
    assert [catalog.leaves_choice(name) for name in names] == [True, True, True, False, False, False, False]


@pytest.mark.parametrize(
    "alias", ["tts-1", "tts-1-hd", "tts-1-1106", "tts-1-hd-1106", "gpt-4o-mini-tts", "gpt-4o-mini-tts-2025-12-15"]
)
def test_tts_1_is_the_kokoro_that_is_installed(catalog: Catalog, cache: Cache, alias: str):
    assert catalog.resolve(alias) == KOKORO
    install(cache, KOKORO + "-fp16", kokoro_folder)
    assert catalog.resolve(alias) == KOKORO + "-fp16"


@pytest.mark.parametrize(
    "name", ["gpt-4o", "gpt-realtime", "whisper-2", "my-gpt-transcribe", "gpt-transcribe-2", "gpt--tts", "tts-1-hd-1"]
)
def test_a_name_that_is_only_like_openai_s_means_itself(catalog: Catalog, name: str):
    assert catalog.resolve(name) == name


@pytest.mark.parametrize(
    "alias", ["pyannote/speaker-diarization-community-1", "pyannote/wespeaker-voxceleb-resnet34-LM"]
)
def test_pyannote_is_the_voice_encoder_that_is_installed(catalog: Catalog, cache: Cache, alias: str):
    assert catalog.resolve(alias) == "campplus"
    install(cache, WESPEAKER, wespeaker_folder)
    assert catalog.resolve(alias) == WESPEAKER
    found = catalog.find(WESPEAKER)
    assert found is not None
    assert (found.engine, found.task, found.licence) == ("wespeaker", "speaker-embedding", "CC-BY-4.0")


def test_weights_that_are_named_are_meant_where_they_are_installed(catalog: Catalog, cache: Cache):
    def campplus_folder(folder: Path) -> Path:
        wespeaker_folder(folder).joinpath("voxceleb_resnet34_LM.onnx").rename(folder / "campplus.onnx")
        return folder

    install(cache, "campplus", campplus_folder)
    assert catalog.resolve("pyannote/wespeaker-voxceleb-resnet34-LM") == "campplus"
    install(cache, WESPEAKER, wespeaker_folder)
    assert catalog.resolve("pyannote/wespeaker-voxceleb-resnet34-LM") == WESPEAKER
    assert catalog.resolve("pyannote/speaker-diarization-community-1") == "campplus"


def test_segmentation_is_silero_s_unless_pyannote_s_is_installed_and_chosen(catalog: Catalog, cache: Cache):
    chosen = Catalog(Settings(default_segmentation_model=PYANNOTE))
    assert chosen.resolve("pyannote/segmentation-3.0") == "silero_vad_v6"
    install(cache, PYANNOTE, pyannote_folder)
    chosen = Catalog(Settings(default_segmentation_model=PYANNOTE))
    assert chosen.resolve("pyannote/segmentation-3.0") == PYANNOTE
    found = chosen.find(PYANNOTE)
    assert found is not None
    assert (found.engine, found.task, found.licence) == ("pyannote", "speaker-segmentation", "MIT")
    assert catalog.resolve("pyannote/segmentation-3.0") == "silero_vad_v6"


def test_turns_end_by_smart_turn_where_it_is_installed_and_else_by_silero(catalog: Catalog, cache: Cache):
    assert catalog.resolve("smart-turn") == "silero_vad_v6"
    install(cache, "pipecat-ai/smart-turn-v3", smart_turn_folder)
    found = catalog.find(catalog.resolve("smart-turn"))
    assert found is not None
    assert (found.engine, found.task, found.licence) == ("smart_turn", "turn-detection", "BSD-2-Clause")
    chosen = Catalog(Settings(default_turn_model="silero_vad"))
    assert chosen.resolve("smart-turn") == "silero_vad_v6"


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
    assert {model.engine for model in catalog.known("automatic-speech-recognition")} == {"whisper", "parakeet"}
    assert {model.engine for model in catalog.known("text-to-speech")} == {"kokoro", "piper", "speecht5"}
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


# --- WHISPER__MODEL, the model of a server that is there for one ---


def only(name: str, **settings: object) -> Catalog:
    return Catalog(Settings(whisper={"model": name}, model_read_caches=[], **settings))


@pytest.mark.parametrize(
    ("name", "model_id"),
    [
        ("openai/whisper-base", BASE),
        ("hf://Systran/faster-whisper-base", BASE),
        ("acme/whisper-calls", "acme/whisper-calls"),
        ("hf://acme/whisper-calls", "acme/whisper-calls"),
    ],
)
def test_the_one_model_is_known_and_what_whisper_1_means(cache: Cache, name: str, model_id: str):
    install(cache, "Systran/faster-whisper-large-v3")  # would be preferred to a model that is not installed
    install(cache, model_id)
    catalog = only(name)
    assert catalog.only == model_id
    assert catalog.resolve("whisper-1") == model_id


def test_the_one_model_may_be_fetched_although_no_list_has_it(cache: Cache):
    assert Catalog(Settings()).find("acme/whisper-calls") is None
    found = only("acme/whisper-calls").find("acme/whisper-calls")
    assert found
    assert (found.engine, found.url) == ("whisper", "hf://acme/whisper-calls")


def test_the_one_model_may_be_a_folder(cache: Cache, tmp_path: Path):
    folder = whisper_folder(tmp_path / "audiomodel-1a2b")
    catalog = only(str(folder))
    assert (catalog.only, catalog.folder("audiomodel-1a2b")) == ("audiomodel-1a2b", folder)
    odd = whisper_folder(tmp_path / "with -- dashes")
    assert only(f"./{odd.name}").folder("local") == odd


def test_a_model_that_was_installed_under_a_name_of_ones_own_may_be_the_one(cache: Cache):
    install(cache, "calls-int8")
    assert only("calls-int8").only == "calls-int8"


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("/nowhere/whisper", "which is no folder"),
        ("nothing-like-it", "no folder, no alias and no id"),
        ("a//b", "no id"),
    ],
)
def test_a_one_model_that_cannot_be_is_said_at_start(cache: Cache, name: str, complaint: str):
    with pytest.raises(ConfigurationInvalid, match=complaint):
        only(name)
