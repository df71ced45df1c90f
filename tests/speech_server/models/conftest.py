"""A cache of the test's own, and model folders small enough to make by the dozen."""

from __future__ import annotations

import json
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from speech_server.engines.parakeet.files import FLOAT, FLOAT_WEIGHTS, INT8
from speech_server.models.disk.cache import Cache, default_root
from speech_server.models.library.catalog import Catalog
from speech_server.models.library.store import Store
from speech_server.models.loader import Loader
from speech_server.settings import Settings
from tests.speech_server.models.engines import PIPER, WHISPER, Factory

REAL_CACHE = Cache(default_root())
PIPER_CONFIG = json.dumps(
    {
        "audio": {"sample_rate": 22050, "quality": "medium"},
        "phoneme_id_map": {"_": [0]},
        "language": {"code": "de_DE"},
        "dataset": "tester",
        "speaker_id_map": {},
    }
)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    """An empty hub cache; everything made in this test uses it, child processes too."""
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.chdir(tmp_path)  # no models.yaml or model_aliases.json of anybody's
    return Cache(tmp_path / "hf" / "hub")


@pytest.fixture
def settings(cache: Cache) -> Settings:
    return Settings(model_read_caches=[])


@pytest.fixture
def catalog(settings: Settings) -> Catalog:
    return Catalog(settings)


@pytest.fixture
def store(settings: Settings, catalog: Catalog) -> Store:
    return Store(settings, catalog)


@pytest.fixture
def factory() -> Factory:
    return Factory()


@pytest.fixture
async def make_loader(cache: Cache, factory: Factory) -> AsyncIterator[Callable[..., Loader]]:
    """A loader over a cache with three models; keywords are settings."""
    install(cache, WHISPER)
    install(cache, PIPER, piper_folder)
    install(cache, "a/kokoro", kokoro_folder)
    loaders: list[Loader] = []

    def make(**values: object) -> Loader:
        settings = Settings(model_read_caches=[], int8_cache=False, **values)
        catalog = Catalog(settings)
        engines = ("whisper", "parakeet", "kokoro", "piper", "silero")
        loaders.append(Loader(settings, catalog, Store(settings, catalog), dict.fromkeys(engines, factory)))
        return loaders[-1]

    yield make
    for loader in loaders:
        await loader.close()


def whisper_folder(folder: Path) -> Path:
    """The right files with nothing sensible inside: enough for everything but loading."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("model.bin", "config.json", "tokenizer.json", "vocabulary.txt"):
        (folder / name).write_text("{}")
    return folder


def piper_folder(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(b"onnx")
    (folder / "config.json").write_text(PIPER_CONFIG)
    return folder


def kokoro_folder(folder: Path, voices: tuple[str, ...] = ("af_heart", "bm_george")) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(b"onnx")
    with (folder / "voices.bin").open("wb") as file:
        np.savez(file, **{name: np.zeros((1, 1, 2), np.float32) for name in voices})  # type: ignore[arg-type]
    return folder


def parakeet_folder(folder: Path, *, tokens: int = 8_193, float32: bool = False) -> Path:
    """The files of a real repository with nothing sensible inside but the vocabulary: v3's, or one of v2's size."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*INT8, *((*FLOAT, FLOAT_WEIGHTS) if float32 else ())):
        (folder / name).write_bytes(b"onnx")
    words = [f"▁{number}" for number in range(tokens - 1)]
    lines = [f"{token} {number}\n" for number, token in enumerate([*words, "<blk>"])]
    (folder / "vocab.txt").write_text("".join(lines), "utf-8")
    (folder / "config.json").write_text('{"model_type": "nemo-conformer-tdt", "features_size": 128}')
    return folder


def install(
    cache: Cache, model_id: str, make: Callable[[Path], Path] = whisper_folder, revision: str = "0" * 40
) -> Path:
    """A model as huggingface_hub lays it out."""
    repository = cache.repository(model_id)
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(revision)
    return make(repository / "snapshots" / revision)


def real_folder(model_id: str) -> Path:
    """The folder of a model that `make models` pulled, whatever cache the test uses itself."""
    folder = REAL_CACHE.folder(model_id)
    assert folder, f"{model_id} is not installed: make models"
    return folder


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    """Where a server that speaks S3's protocol listens."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # moto's
        from moto.server import ThreadedMotoServer

        server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
        server.stop()
