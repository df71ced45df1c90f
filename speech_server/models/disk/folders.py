"""Where the files of a model lie on this machine, whatever brought them there."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from speech_server.models.catalog.info import ModelInfo
from speech_server.models.catalog.models_file import local_path
from speech_server.models.disk.cache import Cache
from speech_server.models.disk.checkpoints import is_made_of


def cache_id(model: ModelInfo) -> str:
    """The name a model has in the cache: a hub repository keeps its own, so that everybody finds it there."""
    if model.url and model.url.startswith("hf://") and not model.files:
        return model.url.removeprefix("hf://")
    return model.id


def folders_of(model_id: str, model: ModelInfo | None, cache: Cache) -> Iterable[Path]:
    """The folders that may hold a model, the one to take first; `model` is what a list says of it, if one does."""
    if model and model.engine == "silero":
        return _silero_folders()
    if model and model.url and model.url.startswith("file://") and not model.files:
        folder = local_path(model.url)
        return [folder, *(made for made in cache.snapshots(model.id) if is_made_of(made, folder))]
    return cache.snapshots(cache_id(model) if model else model_id)


@cache
def _silero_folders() -> tuple[Path, ...]:
    found = importlib.util.find_spec("faster_whisper")  # finds, does not import
    assets = (Path(location) / "assets" for location in (found and found.submodule_search_locations) or [])
    return tuple(folder for folder in assets if any(folder.glob("silero_vad_v6*.onnx")))
