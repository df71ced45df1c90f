"""Whatever lies in a model's folder, the list of models is made, in time; what cannot be read is no model."""

from __future__ import annotations

import io
import json
import logging
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from speech_server.app import create_app
from speech_server.models.disk.cache import Cache
from speech_server.models.library.catalog import Catalog
from speech_server.models.library.store import Store
from speech_server.settings import Settings
from tests.speech_server.engines.speecht5.tiny import write_model
from tests.speech_server.models.conftest import PIPER_CONFIG, install, kokoro_folder, piper_folder, whisper_folder

ID = "someone/odd"
MAKERS = {"whisper": whisper_folder, "kokoro": kokoro_folder, "piper": piper_folder}
FILES = (
    *("model.bin", "config.json", "tokenizer.json", "vocabulary.txt"),
    *("model.onnx", "voices.bin", "x.onnx", "x.onnx.json", "preprocessor_config.json"),
)


def zip_of(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"")
    return buffer.getvalue()


def piper_config(**changes: object) -> bytes:
    return json.dumps(json.loads(PIPER_CONFIG) | changes).encode()


CONTENTS: dict[str, bytes] = {
    "random": os.urandom(1000),
    "deep lists": b'{"phoneme_id_map": ' + b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000,
    "deep and closed": b'{"phoneme_id_map": ' + b"[" * 990 + b"]" * 990 + b', "audio": {"sample_rate": 16000}}',
    "huge integer": b'{"phoneme_id_map": {}, "audio": {"sample_rate": ' + b"1" * 5000 + b"}}",
    "large integer": b'{"phoneme_id_map": {}, "audio": {"sample_rate": ' + b"1" * 4000 + b"}}",
    "NaN": b'{"phoneme_id_map": {}, "audio": {"sample_rate": NaN}}',
    "infinity": b'{"phoneme_id_map": {}, "audio": {"sample_rate": 1e999}}',
    "no audio": b'{"phoneme_id_map": {}}',
    "a list": b"[]",
    "a number": b"7",
    "null": b"null",
    "10 MB of JSON": b'{"phoneme_id_map": {}, "a": "' + b"a" * 10_000_000 + b'"}',
    "not UTF-8": b'{"phoneme_id_map": "\xff"}',
    "lone surrogate": piper_config(dataset="\ud800"),
    "audio is a list": piper_config(audio=[1]),
    "language is text": piper_config(language="de"),
    "code is an object": piper_config(language={"code": {"a": 1}}),
    "speakers are a list": piper_config(speaker_id_map=["a"]),
    "espeak is a number": piper_config(language={}, espeak=7),
    "dataset is a list": piper_config(dataset=[1]),
    "empty archive": zip_of(),
    "archive of other things": zip_of("a/b", "..", "\u2028"),
    "cut archive": zip_of("af_heart.npy", "am_adam.npy")[:-30],
    "many members": zip_of(*(f"v{number}.npy" for number in range(3000))),
    "archive that lies": zip_of("af_heart.npy").replace(b"PK\x01\x02", b"PK\x01\x03"),
}


def put(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def link_to(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


def locked_folder(path: Path) -> None:
    path.mkdir(mode=0)


KINDS: dict[str, Callable[[Path], None]] = {
    **{name: (lambda path, content=content: put(path, content)) for name, content in CONTENTS.items()},
    "nothing": lambda path: None,
    "empty": lambda path: path.touch(),
    "a folder": Path.mkdir,
    "a folder nobody may read": locked_folder,
    "a pipe": os.mkfifo,
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to nowhere": link_to("nowhere"),
    "a link to its folder": link_to("."),
    "a device": link_to("/dev/zero"),
    "a file nobody may read": lambda path: (put(path, b"{}"), path.chmod(0))[1],
}


def replace(path: Path, kind: str) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    if not path.exists():
        KINDS[kind](path)


def listed() -> set[str]:
    """The ids /v1/models answers with; every list must be made, and name only what the others do."""
    client = TestClient(create_app(Settings(model_read_caches=[])))
    for path in ("/v1/audio/voices", "/v1/audio/models", f"/v1/models/{ID}", "/v1/models/whisper-1"):
        assert client.get(path).status_code in (200, 404), path
    answer = client.get("/v1/models")
    assert answer.status_code == 200
    return {model["id"] for model in answer.json()["data"]}


@pytest.mark.parametrize("name", ["config.json", "voices.bin", "model.onnx", "tokenizer.json"])
def test_odd_files_never_hide_the_other_models(cache: Cache, name: str):
    install(cache, "someone/whisper")
    for number, kind in enumerate(KINDS):
        for family, make in MAKERS.items():
            replace(install(cache, f"{ID}-{family}{number}", make) / name, kind)
    assert "someone/whisper" in listed()


@pytest.mark.parametrize("name", [b"\xff", b"a\nb", b"a" * 200])
def test_a_voice_whose_file_has_an_odd_name_is_left_out(cache: Cache, name: bytes):
    folder = install(cache, ID, write_model)
    (folder / "voices" / os.fsdecode(name + b".bin")).write_bytes(bytes(2048))
    assert ID in listed()
    voices = TestClient(create_app(Settings(model_read_caches=[]))).get("/v1/audio/voices").json()["voices"]
    assert [voice["id"] for voice in voices if voice["model_id"] == ID] == ["slt"]


@pytest.mark.parametrize("place", ["refs/main", "refs", "snapshots", "blobs", ".", "snapshots/" + "1" * 40])
def test_odd_places_never_hide_the_other_models(cache: Cache, place: str):
    install(cache, "someone/whisper")
    for number, kind in enumerate(KINDS):
        install(cache, f"{ID}{number}")
        odd = cache.repository(f"{ID}{number}")
        whisper_folder(odd / "snapshots" / ("2" * 40))
        if (odd / place).is_dir():
            shutil.rmtree(odd / place)
        replace(odd / place, kind)
    assert "someone/whisper" in listed()


@hypothesis_settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(st.sampled_from(FILES), st.sampled_from(sorted(KINDS)) | st.binary(min_size=1, max_size=200)),
)
@example({"model.onnx": b"x", "voices.bin": b"PK\x05\x06" + b"\xff" * 18})
def test_any_folder_of_odd_files_is_listed_or_left_out(cache: Cache, files: dict[str, str | bytes]):
    shutil.rmtree(cache.root, ignore_errors=True)
    install(cache, "someone/whisper")
    folder = install(cache, ID, lambda folder: (folder.mkdir(parents=True), folder)[1])
    for name, content in files.items():
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
        else:
            KINDS[content](folder / name)
    assert "someone/whisper" in listed()


@hypothesis_settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2000), st.binary(min_size=1, max_size=8))
def test_an_archive_damaged_anywhere_is_read_or_left_out(cache: Cache, place: int, bytes_there: bytes):
    shutil.rmtree(cache.root, ignore_errors=True)
    archive = install(cache, ID, kokoro_folder) / "voices.bin"
    content = bytearray(archive.read_bytes())
    content[place % len(content) : place % len(content) + len(bytes_there)] = bytes_there
    archive.write_bytes(content)
    Catalog(Settings(model_read_caches=[])).scan()


def test_an_unreadable_model_is_warned_of_once_per_change(
    cache: Cache, catalog: Catalog, caplog: pytest.LogCaptureFixture
):
    config = install(cache, ID, piper_folder) / "config.json"
    config.write_bytes(CONTENTS["no audio"])
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert ID not in {model.id for model in catalog.installed()}
            assert catalog.folder(ID) is None
        assert len(caplog.records) == 1
        assert ID in caplog.text
        assert "audio" in caplog.text
        config.write_bytes(CONTENTS["a list"] + b"7")
        catalog.installed()
        assert len(caplog.records) == 2
    config.write_text(PIPER_CONFIG)
    assert ID in {model.id for model in catalog.installed()}


def test_an_onnx_model_of_another_kind_is_left_out_in_silence(
    cache: Cache, catalog: Catalog, caplog: pytest.LogCaptureFixture
):
    (install(cache, ID, piper_folder) / "config.json").write_text('{"model_type": "bert"}')
    with caplog.at_level(logging.WARNING):
        assert ID not in {model.id for model in catalog.installed()}
    assert caplog.records == []


def test_an_unreadable_model_can_be_removed_and_one_of_other_programs_cannot(cache: Cache, store: Store):
    (install(cache, ID, kokoro_folder) / "voices.bin").write_bytes(b"no archive")
    store.remove(ID)
    assert not cache.repository(ID).exists()
    (install(cache, ID, piper_folder) / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(Exception, match="not installed"):
        store.remove(ID)
    assert cache.repository(ID).exists()
