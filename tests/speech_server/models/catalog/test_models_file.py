"""A models file: what it may say, what happens then, and how a wrong one complains."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from speech_server.errors import ConfigurationInvalid, ModelNotFound, ModelNotRemovable
from speech_server.models.catalog.models_file import read_named_models
from speech_server.models.disk.cache import Cache
from speech_server.models.library.catalog import Catalog
from speech_server.models.library.store import Store
from speech_server.settings import Settings
from tests.speech_server.engines.speecht5.tiny import write_model, write_vector
from tests.speech_server.models.conftest import install, kokoro_folder, piper_folder, whisper_folder
from tests.speech_server.networks import pyannote_folder, smart_turn_folder, wespeaker_folder

EVERYTHING = """
- name: support-calls
  url: s3://bucket/whisper
  task: automatic-speech-recognition
  args: {compute_type: int8, beam_size: 2, device: cpu, threads: 1, workers: 2}
  env: {AWS_ENDPOINT_URL: "http://minio:9000", AWS_ACCESS_KEY_ID: key}
  files: {preprocessor_config.json: "{}"}
  ttl: -1
  preload: true
  owner: acme
- name: acme/voice
  url: hf://speaches-ai/piper-de_DE-thorsten-medium
  task: TextToSpeech
- {name: kokoro, url: "file:///models/Kokoro", task: text-to-speech}
"""


def open_store(**values: object) -> tuple[Catalog, Store]:
    settings = Settings(model_read_caches=[], **values)
    catalog = Catalog(settings)
    return catalog, Store(settings, catalog)


def test_everything_a_model_can_be_told(cache: Cache):
    Path("models.yaml").write_text(EVERYTHING)
    settings = Settings(whisper={"num_workers": 3, "short_windows": False})
    calls, voice, kokoro = read_named_models(settings)
    assert (calls.id, calls.engine, calls.task) == ("support-calls", "whisper", "automatic-speech-recognition")
    assert (calls.url, calls.owned_by, calls.ttl, calls.preload) == ("s3://bucket/whisper", "acme", -1, True)
    assert (calls.args.compute_type, calls.args.device, calls.args.threads, calls.args.workers) == ("int8", "cpu", 1, 2)
    assert calls.args.extra["beam_size"] == 2
    assert calls.args.extra["short_windows"] is False  # the settings' own, where the file is silent
    assert calls.files == {"preprocessor_config.json": "{}"}
    assert "minio" not in repr(calls)
    assert (voice.task, voice.engine, voice.ttl, voice.preload) == ("text-to-speech", "piper", None, False)
    assert kokoro.engine == "kokoro"


@pytest.mark.parametrize(
    ("task", "make", "engine"),
    [
        ("speaker-embedding", wespeaker_folder, "wespeaker"),
        ("speaker-segmentation", pyannote_folder, "pyannote"),
        ("turn-detection", smart_turn_folder, "smart_turn"),
    ],
)
def test_models_that_tell_people_and_turns_apart_lie_anywhere(
    cache: Cache, tmp_path: Path, task: str, make: Callable[[Path], Path], engine: str
):
    entry = {"name": "mine", "url": f"file://{make(tmp_path / 'weights')}", "task": task}
    (named,) = read_named_models(Settings(models=json.dumps([entry])))
    assert (named.engine, named.task) == (engine, task)
    _, store = open_store(models=json.dumps([entry]))
    assert store.folder("mine") == tmp_path / "weights"
    assert store.pull("mine").engine == engine


def test_the_environment_takes_the_same_inline_as_yaml_or_json(cache: Cache):
    entries = [{"name": "mine", "url": "file:///models/mine"}]
    for text in (json.dumps(entries), json.dumps({"models": entries}), "- {name: mine, url: 'file:///models/mine'}"):
        assert [model.id for model in read_named_models(Settings(models=text))] == ["mine"]
    Path("other.yaml").write_text("- {name: other, url: 'file:///models/other'}")
    both = read_named_models(Settings(models=json.dumps(entries), models_file="other.yaml"))
    assert [model.id for model in both] == ["other", "mine"]


def test_without_a_file_there_are_none(cache: Cache):
    assert read_named_models(Settings()) == []
    Path("models.yaml").write_text("")
    assert read_named_models(Settings()) == []


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a: [", "neither YAML nor JSON"),
        ("just words", "a list of models is needed"),
        ("[1]", "model 0: entry"),
        ("[{url: 'file:///x'}]", "model 0: name: Field required"),
        ("[{name: a}]", r"model 0 \(a\): url: Field required"),
        ("[{name: 'a b', url: 'file:///x'}]", r"model 0 \(a b\): name"),
        ("[{name: ../a, url: 'file:///x'}]", "name"),
        ("[{name: a, url: 'ftp://x'}]", "url: .*must be hf://owner/name, s3://bucket/prefix or file:///folder"),
        ("[{name: a, url: 'file://x'}]", "url"),
        ("[{name: a, url: 'hf://x'}]", "url"),
        ("[{name: a, url: 'file:///x', task: cooking}]", "task"),
        ("[{name: a, url: 'file:///x', args: {beam_sise: 3}}]", "args.beam_sise: Extra inputs"),
        ("[{name: a, url: 'file:///x', args: {device: tpu}}]", "args.device"),
        ("[{name: a, url: 'file:///x', env: {PATH: /x}}]", "env: .*PATH: only AWS_"),
        ("[{name: a, url: 'file:///x', files: {../x: y}}]", "files"),
        ("[{name: a, url: 'file:///x', voices: {../me: /me.bin}}]", "voices"),
        ("[{name: a, url: 'file:///x', voices: {me: 7}}]", "voices.me"),
        ("[{name: a, url: 'file:///x', args: {language: ../es}}]", "args.language"),
        ("[{name: a, url: 'file:///x', ttl: -2}]", "ttl"),
        ("[{name: a, url: 'file:///x', colour: red}]", "colour: Extra inputs"),
        ("[{name: a, url: 'file:///x'}, {name: a, url: 'file:///y'}]", "'a' is used twice"),
    ],
)
def test_a_wrong_file_names_the_model_and_the_field(cache: Cache, text: str, complaint: str):
    with pytest.raises(ConfigurationInvalid, match=complaint) as error:
        Catalog(Settings(models=text))
    assert error.value.message.startswith("MODELS")
    assert "\n" not in error.value.message


def test_a_models_file_that_was_named_has_to_be_there(cache: Cache):
    with pytest.raises(ConfigurationInvalid, match=r"nowhere\.yaml"):
        read_named_models(Settings(models_file="nowhere.yaml"))


def test_a_folder_is_used_in_place_and_never_removed(cache: Cache, tmp_path: Path):
    folder = kokoro_folder(tmp_path / "my voices")
    entry = {"name": "mine", "url": f"file://{folder}".replace(" ", "%20"), "task": "text-to-speech", "owner": "acme"}
    catalog, store = open_store(models=json.dumps([entry]))
    assert store.folder("mine") == folder
    model = store.pull("mine")
    assert (model.engine, model.owned_by, [voice.id for voice in model.voices]) == (
        "kokoro", "acme", ["af_heart", "bm_george"]
    )  # fmt: skip
    assert catalog.find("mine") in catalog.installed()
    with pytest.raises(ModelNotRemovable):
        store.remove("mine")


def test_what_the_files_are_wins_over_what_the_url_looks_like(cache: Cache, tmp_path: Path):
    folder = piper_folder(tmp_path / "Kokoro")
    _, store = open_store(models=json.dumps([{"name": "mine", "url": f"file://{folder}", "task": "TextToSpeech"}]))
    assert store.pull("mine").engine == "piper"


def test_a_speecht5_is_told_its_language_and_ones_own_voices(cache: Cache, tmp_path: Path):
    folder = write_model(tmp_path / "speecht5-spanish", place="")
    own = write_vector(tmp_path / "me.bin", 0.5)
    entry = {"name": "speecht5_tts_spanish", "url": f"file://{folder}", "task": "text-to-speech"}
    told = {"args": {"language": "es"}, "voices": {"me": str(own)}}
    catalog, store = open_store(models=json.dumps([entry | told]))
    model = store.pull(catalog.resolve("speecht5_tts_spanish"))
    assert (model.id, model.engine, model.sample_rate) == ("speecht5_tts_spanish", "speecht5", 16_000)
    assert [(voice.id, voice.language) for voice in model.voices] == [("me", "es"), ("slt", "es")]
    assert model.args.voices == {"me": own}


def test_voices_mean_nothing_to_another_engine_and_it_says_so(
    cache: Cache, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    folder = piper_folder(tmp_path / "piper")
    entry = {"name": "mine", "url": f"file://{folder}", "task": "text-to-speech", "voices": {"me": "/me.bin"}}
    _, store = open_store(models=json.dumps([entry]))
    assert store.folder("mine") is None
    assert "model mine is left out: 'mine' is piper's: only SpeechT5 takes `voices` of a models file" in caplog.text


def test_a_speecht5_with_files_beside_it_is_copied_with_its_folders(cache: Cache, tmp_path: Path):
    folder = write_model(tmp_path / "speecht5")
    (folder / "tokenizer.json").rename(tmp_path / "characters")
    files = {"tokenizer.json": (tmp_path / "characters").read_text()}
    entry = {"name": "mine", "url": f"file://{folder}", "task": "text-to-speech", "files": files}
    _, store = open_store(models=json.dumps([entry]))
    store.pull("mine")
    found = store.folder("mine")
    assert found is not None
    assert sorted(str(file.relative_to(found)) for file in found.rglob("*.*") if file.exists()) == [
        "onnx/decoder_model_merged.onnx",
        "onnx/decoder_postnet_and_vocoder.onnx",
        "onnx/encoder_model.onnx",
        "tokenizer.json",
        "voices/slt.bin",
    ]


def test_files_are_put_beside_a_copy_the_original_stays(cache: Cache, tmp_path: Path):
    folder = whisper_folder(tmp_path / "whisper")
    (folder / "tokenizer.json").unlink()
    entry = {"name": "mine", "url": f"file://{folder}", "files": {"tokenizer.json": '{"mine": 1}'}}
    _, store = open_store(models=json.dumps([entry]))
    assert store.folder("mine") is None
    store.pull("mine")
    found = store.folder("mine")
    assert found is not None
    assert found != folder
    assert (found / "tokenizer.json").read_text() == '{"mine": 1}'
    assert not (folder / "tokenizer.json").exists()
    store.remove("mine")
    assert store.folder("mine") is None


def test_a_folder_without_a_model_is_named(cache: Cache, tmp_path: Path):
    _, store = open_store(models=json.dumps([{"name": "mine", "url": f"file://{tmp_path}/nothing"}]))
    with pytest.raises(ModelNotFound, match="nothing holds no complete model"):
        store.pull("mine")


def test_a_hub_model_that_others_downloaded_is_installed_under_the_new_name(cache: Cache):
    folder = install(cache, "someone/whisper")
    catalog, store = open_store(models='[{"name": "mine", "url": "hf://someone/whisper", "args": {"beam_size": 1}}]')
    assert store.folder("mine") == folder
    model = store.pull("mine")
    assert (model.id, model.args.extra["beam_size"]) == ("mine", 1)
    assert {model.id for model in catalog.installed()} == {"mine", "someone/whisper", "silero_vad_v6"}
    store.remove("mine")
    assert store.folder("someone/whisper") is None


def test_a_hub_model_with_files_of_its_own_leaves_the_hubs_copy_alone(cache: Cache, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = install(cache, "someone/whisper")
    entry = {"name": "mine", "url": "hf://someone/whisper", "files": {"preprocessor_config.json": "{}"}}
    _, store = open_store(models=json.dumps([entry]))
    store.pull("mine")
    found = store.folder("mine")
    assert found is not None
    assert (found / "preprocessor_config.json").is_file()
    assert not (folder / "preprocessor_config.json").exists()
    assert store.folder("someone/whisper") == folder


def test_an_alias_may_name_a_model_of_the_file(cache: Cache, tmp_path: Path):
    Path("model_aliases.json").write_text('{"whisper-1": "mine"}')
    entry = {"name": "mine", "url": f"file://{whisper_folder(tmp_path / 'whisper')}"}
    catalog, _ = open_store(models=json.dumps([entry]))
    assert catalog.resolve("whisper-1") == "mine"
    assert list(catalog.named) == ["mine"]
