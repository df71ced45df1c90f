"""The models on this machine's disk: which are installed, how they come and how they go."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Mapping
from pathlib import Path

from speech_server.errors import ModelNotInstalled, ModelNotRemovable, SourceUnavailable
from speech_server.models.cache import open_cache
from speech_server.models.catalog import SILERO, Catalog, ModelInfo
from speech_server.models.int8_cache import Int8Cache
from speech_server.models.sources import Progress, Source
from speech_server.models.sources.hub import Hub
from speech_server.models.sources.wheels import Wheels
from speech_server.settings import Settings

log = logging.getLogger(__name__)


def in_silence(done: int, total: int | None, label: str) -> None:
    """Progress nobody looks at."""


class Store:
    """Takes ids, not aliases. Blocking; safe to call from any thread and any process.

    `sources` replaces where models come from, asked in their order.
    """

    def __init__(self, settings: Settings, catalog: Catalog, sources: Mapping[str, Source] | None = None) -> None:
        self._catalog = catalog
        self._cache = open_cache(settings)
        self._int8 = Int8Cache(self._cache.root.parent / "runpod-speech" / "int8", enabled=settings.int8_cache)
        self._timeout = settings.model_download_timeout
        offered: Mapping[str, Source] = sources or {"hub": Hub(), "wheels": Wheels(self._timeout)}
        chosen = settings.model_source
        self._sources = offered if chosen == "auto" else {chosen: offered[chosen]}

    def installed(self) -> list[ModelInfo]:
        """Every complete model there is: the cache's, and Silero."""
        found = [self._catalog.find(model_id) for model_id in self._cache.ids() if self._cache.folder(model_id)]
        return [model for model in (*found, self._catalog.find(SILERO)) if model]

    def folder(self, model_id: str) -> Path | None:
        """The model's folder; None when the model is not installed, or not completely."""
        if model_id == SILERO:
            return _silero_folder()
        return self._cache.folder(model_id)

    def loadable_folder(self, model: ModelInfo) -> Path | None:
        """Like `folder`, with Whisper's weights in the precision a CPU wants; converting takes a while, once."""
        folder = self.folder(model.id)
        return self._int8.folder(model, folder) if folder else None

    def is_obtainable(self, model_id: str) -> bool:
        """Whether some source may have the model; answered from memory, without a network."""
        return any(source.offers(model_id) for source in self._sources.values())

    def pull(self, model_id: str, progress: Progress = in_silence, source: Source | None = None) -> ModelInfo:
        """Install a model unless it is installed; no network is touched then.

        Raises ModelNotFound, ModelNotInstalled (nobody offers it), ModelGated, SourceUnavailable, StorageFull.
        """
        if self.folder(model_id) is None:
            with self._cache.locked(model_id, self._timeout):
                if self.folder(model_id) is None:  # else another process was faster
                    self._fetch(model_id, progress, [source] if source else list(self._sources.values()))
        model = self._catalog.find(model_id)
        assert model is not None
        return model

    def remove(self, model_id: str) -> None:
        """Delete a model's files. Raises ModelNotInstalled, ModelNotRemovable."""
        folder = self.folder(model_id)
        if folder is None:
            raise ModelNotInstalled(model_id)
        if not folder.is_relative_to(self._cache.root):
            raise ModelNotRemovable(f"Model '{model_id}' lies in {folder}, which this server does not own")
        with self._cache.locked(model_id, self._timeout):
            self._cache.delete(model_id)
        self._int8.remove(model_id)

    def _fetch(self, model_id: str, progress: Progress, sources: list[Source]) -> None:
        failures = []
        for source in sources:
            if not source.offers(model_id):
                continue
            try:
                source.fetch(model_id, self._cache, progress)
            except SourceUnavailable as error:
                log.warning("model %s: %s", model_id, error.message)
                failures.append(error.message)
                continue
            if self.folder(model_id) is None:
                raise SourceUnavailable(f"What was fetched as '{model_id}' is no complete model")
            return
        if failures:
            raise SourceUnavailable(f"Model '{model_id}' could not be fetched: " + "; ".join(failures))
        raise ModelNotInstalled(model_id, "no source offers it; is HF_HUB_OFFLINE set?")


def _silero_folder() -> Path | None:
    found = importlib.util.find_spec("faster_whisper")  # finds, does not import
    for location in (found and found.submodule_search_locations) or []:
        assets = Path(location) / "assets"
        if any(assets.glob("silero_vad_v6*.onnx")):
            return assets
    return None
