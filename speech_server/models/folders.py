"""Where the files of a model lie on this machine, whatever brought them there."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from speech_server.models.cache import Cache
from speech_server.models.info import ModelInfo
from speech_server.models.models_file import local_path
from speech_server.models.recognise import recognise


def cache_id(model: ModelInfo) -> str:
    """The name a model has in the cache: a hub repository keeps its own, so that everybody finds it there."""
    if model.url and model.url.startswith("hf://") and not model.files:
        return model.url.removeprefix("hf://")
    return model.id


def complete_folder(model: ModelInfo, cache: Cache) -> Path | None:
    """The folder of an installed model; None when it is not installed, or not completely."""
    if model.engine == "silero":
        return _silero_folder()
    if model.url and model.url.startswith("file://") and not model.files:
        folder = local_path(model.url)
        return folder if recognise(folder) else None
    return cache.folder(cache_id(model))


def _silero_folder() -> Path | None:
    found = importlib.util.find_spec("faster_whisper")  # finds, does not import
    for location in (found and found.submodule_search_locations) or []:
        assets = Path(location) / "assets"
        if any(assets.glob("silero_vad_v6*.onnx")):
            return assets
    return None
