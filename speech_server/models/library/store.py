"""The models on this machine's disk: which are installed, how they come and how they go."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from speech_server.engines.speecht5.voices import FOLDER
from speech_server.errors import ModelBroken, ModelNotInstalled, ModelNotRemovable, SourceUnavailable
from speech_server.models.catalog.models_file import local_path
from speech_server.models.disk.cache import Progress, open_cache, sha256
from speech_server.models.disk.checkpoints import is_checkpoint
from speech_server.models.disk.recognise import files_in
from speech_server.models.library.catalog import Catalog, ModelInfo
from speech_server.models.library.int8_cache import Int8Cache
from speech_server.models.sources import Source
from speech_server.models.sources.folder import Folder
from speech_server.models.sources.hub import Hub
from speech_server.models.sources.s3 import S3
from speech_server.settings import Settings

log = logging.getLogger(__name__)

_PATIENCE = 10.0  # seconds to wait for a process that pulls what is to be removed


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
        self._sources: Mapping[str, Source] = sources or {"hub": Hub()}

    def folder(self, model_id: str) -> Path | None:
        """The model's folder; None when the model is not installed, or not completely."""
        return self._catalog.folder(model_id)

    def loadable_folder(self, model: ModelInfo) -> Path | None:
        """Like `folder`, with Whisper's weights in the precision a CPU wants; converting takes a while, once."""
        installed = self._catalog.look(model.id)
        return self._int8.folder(model, installed.folder) if installed else None

    def is_obtainable(self, model_id: str) -> bool:
        """Whether some source may have the model; answered from memory, without a network."""
        cached, sources = self._plan(model_id)
        return self._catalog.origin(model_id) is None and any(source.offers(cached) for source in sources)

    def pull(self, model_id: str, progress: Progress = in_silence) -> ModelInfo:
        """Install a model unless it is installed; no network is touched then.

        Raises ModelNotFound, ModelNotInstalled (nobody offers it), ModelGated, SourceUnavailable, StorageFull.
        """
        installed = self._catalog.look(model_id)
        if installed is None:
            with self._cache.locked(self._cached(model_id), self._timeout):
                if self._catalog.look(model_id) is None:  # else another process was faster
                    self._install(model_id, progress)
            installed = self._catalog.look(model_id)
        if installed is None:
            raise SourceUnavailable(f"What was fetched as '{model_id}' is no complete model")
        return installed.info

    def add(self, model_id: str, write: Callable[[Path], None]) -> ModelInfo:
        """Install what `write` puts into the folder it is given, in place of what had that name. StorageFull."""
        with self._cache.locked(model_id, self._timeout), self._cache.incoming(model_id) as scratch:
            write(scratch)
            names = files_in(scratch)
            self._cache.publish(model_id, scratch, {name: sha256(scratch / name) for name in names})
        installed = self._catalog.look(model_id)
        if installed is None:
            raise ModelBroken(f"What was written as '{model_id}' is no complete model")
        return installed.info

    def remove(self, model_id: str) -> None:
        """Delete a model's files, readable or not. Raises ModelNotInstalled, ModelNotRemovable."""
        installed = self._catalog.look(model_id)
        cached = self._cached(model_id)
        if installed is None and not self._catalog.is_broken(model_id):
            raise ModelNotInstalled(model_id, "there is nothing to remove")
        folder = installed.folder if installed else next(self._cache.snapshots(cached), self._cache.root)
        if not folder.is_relative_to(self._cache.root):
            raise ModelNotRemovable(f"Model '{model_id}' lies in {folder}, which this server does not own")
        with self._cache.locked(cached, min(self._timeout, _PATIENCE)):
            self._cache.delete(cached)
        self._int8.remove(model_id)
        self._catalog.look(model_id)

    def _cached(self, model_id: str) -> str:
        """The name a model has in the cache."""
        model = self._catalog.named.get(model_id)
        return model.cache_id if model else model_id

    def _plan(self, model_id: str) -> tuple[str, list[Source]]:
        """What to ask for, and whom, in this order."""
        model = self._catalog.named.get(model_id)
        if model is None or model.url is None:
            return model_id, list(self._sources.values())
        if model.url.startswith("s3://"):
            return model_id, [S3(model.url, model.env, model.files)]
        if model.url.startswith("file://"):
            return model_id, [Folder(local_path(model.url), model.files)]
        hub = Hub(model.env, [*model.files, *(f"{FOLDER}/{name}.bin" for name in model.args.voices)])
        sources = [hub if name == "hub" else source for name, source in self._sources.items()]
        return model.url.removeprefix("hf://"), sources

    def _install(self, model_id: str, progress: Progress) -> None:
        wanted, sources = self._plan(model_id)
        cached = self._cached(model_id)
        if checkpoint := next(filter(is_checkpoint, self._cache.snapshots(wanted)), None):
            sources = [Folder(checkpoint)]  # another program's: no network is needed, and it stays
        if wanted == cached:
            return self._fetch(wanted, sources, progress)
        # A hub repository with files of the user's: as it is under its own name, with the files under the model's.
        if self._cache.folder(wanted) is None:
            with self._cache.locked(wanted, self._timeout):
                self._fetch(wanted, sources, progress)
        named = self._catalog.named[model_id]
        return Folder(next(self._cache.snapshots(wanted)), named.files).fetch(cached, self._cache, progress)

    def _fetch(self, model_id: str, sources: list[Source], progress: Progress) -> None:
        failures = []
        for source in sources:
            if not source.offers(model_id):
                continue
            try:
                return source.fetch(model_id, self._cache, progress)
            except SourceUnavailable as error:
                log.info("model %s: %s", model_id, error.message)
                failures.append(error.message)
        if failures:
            raise SourceUnavailable(f"Model '{model_id}' could not be fetched: " + "; ".join(failures))
        raise ModelNotInstalled(model_id, "no source offers it; is HF_HUB_OFFLINE set?")
