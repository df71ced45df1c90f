"""Whisper checkpoints that nobody has converted: pulled by their name from a hub, a folder or a bucket."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from speech_server.errors import ModelBroken, StorageFull
from speech_server.models.disk.cache import Cache
from speech_server.models.disk.recognise import recognise
from speech_server.models.library.catalog import Catalog
from speech_server.models.library.store import Store, in_silence
from speech_server.models.sources.folder import Folder
from speech_server.settings import Settings
from tests.conftest import ROOT
from tests.speech_server.models.checkpoints import slow_tokenizer, tiny_checkpoint
from tests.speech_server.models.conftest import install, real_folder
from tests.speech_server.models.hub import FakeHub, running_hub

ID = "someone/whisper-fine-tune"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(real_folder("Systran/faster-whisper-base"), tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture
def hub(checkpoint: Path) -> Iterator[FakeHub]:
    with running_hub() as server:
        server.offer(ID, checkpoint)
        yield server


def models(hub: FakeHub, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "speech_server", "models", *arguments],
        cwd=ROOT, env=os.environ | hub.env, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def left_in(cache: Cache) -> list[str]:
    """Every file of every model, by its name; locks are no model's."""
    return sorted(path.name for folder in cache.root.glob("models--*") for path in folder.rglob("*"))


def test_a_checkpoint_is_converted_on_the_spot_and_only_the_result_is_kept(hub: FakeHub, cache: Cache):
    hub.repositories[ID] |= {"pytorch_model.bin": b"not wanted", "README.md": b"not wanted"}
    done = models(hub, "pull", ID)
    assert done.returncode == 0, done.stderr
    assert hub.fetched == ["config.json", "tokenizer.json", "model.safetensors"]
    folder = cache.folder(ID)
    assert folder
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json", "model.bin", "tokenizer.json", "vocabulary.json"
    ]  # fmt: skip
    assert len(list((cache.repository(ID) / "blobs").iterdir())) == 4
    assert not [name for name in left_in(cache) if "safetensors" in name or "incoming" in name]
    hub.requests.clear()
    assert models(hub, "pull", ID).stdout == f"{ID} is installed\n"
    assert hub.requests == []


def test_a_fine_tune_with_a_tokenizer_of_the_older_kind_is_taken(hub: FakeHub, cache: Cache, tmp_path: Path):
    for name, content in hub.repositories[ID].items():
        (tmp_path / name).write_bytes(content)
    slow_tokenizer(tmp_path)
    hub.offer(ID, tmp_path)
    assert models(hub, "pull", ID).returncode == 0
    assert cache.folder(ID)
    assert set(hub.fetched) == {"config.json", "vocab.json", "merges.txt", "added_tokens.json", "model.safetensors"}


@pytest.mark.parametrize(
    ("change", "complaint", "fetched"),
    [
        ({"config.json": b'{"model_type": "bert"}'}, "is no Whisper: config.json says model_type bert", 1),
        ({"model.safetensors": b"rubbish" * 100}, "is no safetensors file", 3),
        ({"config.json": b'{"model_type": "whisper"}'}, "config.json cannot be: encoder_layers", 3),
        ({"model.safetensors": None, "pytorch_model.bin": b"x"}, "weights are pickled", 0),
        ({"model.safetensors": None, "model-00001-of-00002.safetensors": b"x"}, "holds no model this server can", 0),
    ],
)
def test_what_cannot_be_converted_is_one_line_and_leaves_nothing(
    hub: FakeHub, cache: Cache, change: dict[str, bytes | None], complaint: str, fetched: int
):
    files: dict[str, bytes | None] = {**hub.repositories[ID], **change}
    hub.repositories[ID] = {name: content for name, content in files.items() if content is not None}
    done = models(hub, "pull", ID)
    assert done.returncode == 1
    assert complaint in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert len(hub.fetched) == fetched
    assert not list(cache.root.glob("models--*"))


def test_a_disk_that_cannot_hold_the_checkpoint_and_what_it_becomes_is_refused_before_the_first_byte(
    hub: FakeHub, cache: Cache
):
    hub.sizes["model.safetensors"] = 10**15
    done = models(hub, "pull", ID)
    assert done.returncode == 1
    assert "needs 2000000" in done.stderr  # MB: twice the petabyte
    assert hub.fetched == []
    assert not list(cache.root.glob("models--*"))


def test_a_pull_that_is_killed_leaves_no_model_and_the_next_one_sweeps(hub: FakeHub, cache: Cache):
    hub.stall_at = 1_000_000
    command = [sys.executable, "-m", "speech_server", "models", "pull", ID]
    with subprocess.Popen(command, cwd=ROOT, env=os.environ | hub.env) as victim:
        assert hub.stalled.wait(30)
        victim.send_signal(signal.SIGKILL)
    assert cache.folder(ID) is None
    assert any(name.startswith("incoming-") for name in left_in(cache))
    hub.stall_at = None
    hub.resumed.set()
    assert models(hub, "pull", ID).returncode == 0
    assert cache.folder(ID)
    assert not any(name.startswith("incoming-") for name in left_in(cache))


def test_convert_takes_a_checkpoint_from_the_hub_and_keeps_it_for_the_next_precision(hub: FakeHub, cache: Cache):
    for name in ("acme/first", "acme/second"):
        done = models(hub, "convert", ID, "--weight-format", "int8", "--name", name)
        assert done.returncode == 0, done.stderr
        assert cache.folder(name)
    assert hub.fetched == ["config.json", "tokenizer.json", "model.safetensors"]


def test_a_checkpoint_another_program_downloaded_is_converted_without_a_network_and_stays(
    checkpoint: Path, cache: Cache, store: Store
):
    def copy(folder: Path) -> Path:
        folder.mkdir(parents=True)
        for path in checkpoint.iterdir():
            (folder / path.name).symlink_to(path)
        return folder

    snapshot = install(cache, ID, copy)
    assert store.folder(ID) is None
    model = store.pull(ID)
    assert (model.engine, model.id) == ("whisper", ID)
    assert (snapshot / "model.safetensors").is_file()


def test_a_folder_named_in_the_models_file_may_hold_a_checkpoint(checkpoint: Path, cache: Cache):
    settings = Settings(models=json.dumps([{"name": "calls", "url": checkpoint.as_uri()}]), model_read_caches=[])
    catalog = Catalog(settings)
    store = Store(settings, catalog)
    before = sorted(checkpoint.iterdir())
    labels: list[str] = []
    store.pull("calls", lambda done, total, label: labels.append(label))
    assert set(labels) == {"converting"}
    assert store.folder("calls") == cache.folder("calls")
    assert sorted(checkpoint.iterdir()) == before
    assert Store(settings, Catalog(settings)).folder("calls") == store.folder("calls")


def test_a_checkpoint_that_was_replaced_in_its_folder_is_converted_anew(checkpoint: Path, cache: Cache, tmp_path: Path):
    for path in checkpoint.iterdir():
        shutil.copy(path, tmp_path)
    settings = Settings(models=json.dumps([{"name": "calls", "url": tmp_path.as_uri()}]), model_read_caches=[])
    store = Store(settings, Catalog(settings))
    store.pull("calls")
    first = store.folder("calls")
    os.utime(tmp_path / "model.safetensors", (0, 0))  # trained once more
    assert store.folder("calls") is None
    store.pull("calls")
    assert store.folder("calls") != first


def test_a_bucket_may_hold_a_checkpoint(checkpoint: Path, endpoint: str, cache: Cache):
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    bucket = boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="key", aws_secret_access_key="secret"
    )
    bucket.create_bucket(Bucket="fine-tunes")
    for path in checkpoint.iterdir():
        bucket.upload_file(str(path), "fine-tunes", f"calls/{path.name}")
    bucket.close()
    named = {"name": "calls", "url": "s3://fine-tunes/calls", "env": {"AWS_ENDPOINT_URL": endpoint, **keys}}
    settings = Settings(models=json.dumps([named]), model_read_caches=[])
    Store(settings, Catalog(settings)).pull("calls")
    folder = cache.folder("calls")
    assert folder
    assert recognise(folder) == "whisper"
    assert not [name for name in left_in(cache) if "safetensors" in name or "incoming" in name]


def test_a_folder_that_cannot_be_converted_leaves_nothing(checkpoint: Path, cache: Cache, tmp_path: Path):
    for path in checkpoint.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.json").write_text('{"model_type": "whisper"}')
    with pytest.raises(ModelBroken):
        Folder(tmp_path).fetch("calls", cache, in_silence)
    assert not list(cache.root.glob("models--*"))


def test_a_full_disk_is_said(checkpoint: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 1_000_000}))
    with pytest.raises(StorageFull, match="needs 7 MB"):
        Folder(checkpoint).fetch("calls", cache, in_silence)
    assert not list(cache.root.glob("models--*"))
