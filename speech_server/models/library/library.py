"""The event loop's way to the models on disk: answers from memory, looks and changes in threads, pulls at most once."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator

from speech_server.errors import LoadTimeout, ModelInUse, ModelNotInstalled, OwnerNotAllowed
from speech_server.models.catalog.ids import require_model_id
from speech_server.models.catalog.info import ModelInfo, owner
from speech_server.models.library.catalog import Catalog
from speech_server.models.library.inventory import Installed
from speech_server.models.library.pulls import Pulls, Step
from speech_server.models.library.store import Store
from speech_server.pools import Pool
from speech_server.settings import Settings

log = logging.getLogger(__name__)

_PATIENCE = 10.0  # seconds a request waits for the disk to say what is there
_LISTS_EVERY = 1.0  # seconds; a list is no older


class Library:
    """Belongs to one event loop. Takes ids, but for `seek` and `missing`, which take names.

    The catalog's memory is kept true by whoever changes something here, and by looks at the disk, at most one every
    MODEL_RECHECK_INTERVAL seconds, for what other programs change.
    """

    def __init__(self, settings: Settings, catalog: Catalog, store: Store) -> None:
        self._settings = settings
        self._catalog = catalog
        self._store = store
        self._pulls = Pulls(store.pull, settings.model_pulls, settings.model_pulls_waiting)
        # Names that nobody has seen are strangers' as a rule: their line is long, and no load waits in it.
        self._seeking = Pool("model-seek", 1, 1023)
        self._looking = Pool("model-look", 2, 254)
        self._removing = Pool("model-remove", 1, 15)
        self._looks: dict[str, asyncio.Task[Installed | None]] = {}
        self._scan: asyncio.Task[list[ModelInfo]] | None = None
        self._scanned = time.monotonic()

    def resolve(self, name: str) -> str:
        """The id a name from outside means. Raises ModelNotFound for what can be no id."""
        return require_model_id(self._catalog.resolve(name))

    async def seek(self, name: str) -> str:
        """The id a name means, after a look at the disk when no such model was seen there. Raises ModelNotFound."""
        model_id = self.resolve(name)
        if self._catalog.remembers:
            self._recheck(self._settings.model_recheck_interval)
            if self._catalog.folder(model_id) is None:
                await self._look_for(model_id)
        return model_id

    async def installed(self) -> list[ModelInfo]:
        """Every installed model; where the disk does not answer in time, those that were there before."""
        if scan := self._recheck(_LISTS_EVERY):
            await asyncio.wait((scan,), timeout=_PATIENCE)
        return self._catalog.installed()

    async def pull(self, model_id: str) -> ModelInfo:
        """The model, installed first unless it is. Raises Busy, and what Store.pull raises."""
        found = await self._looking.run(self._catalog.look, model_id)
        return found.info if found else await self._pulls.wait(model_id)

    def pull_in_steps(self, model_id: str) -> AsyncGenerator[Step, None]:
        """The same, telling how far it is."""
        return self._pulls.steps(model_id)

    async def remove(self, model_id: str) -> None:
        """Raises ModelInUse while the model is being pulled, and what Store.remove raises."""
        if model_id in self._pulls:
            raise ModelInUse(f"Model '{model_id}' is being downloaded: try again later")
        await self._removing.run(self._store.remove, model_id)

    def require_pullable(self, model_id: str) -> None:
        """Raises ModelNotInstalled for a model nobody offers, OwnerNotAllowed for one that callers may not choose."""
        if not self._store.is_obtainable(model_id):
            raise ModelNotInstalled(model_id, self._catalog.origin(model_id) or "no source offers it")
        if not (self._is_trusted(model_id) or self._is_named(model_id)):
            raise OwnerNotAllowed(
                f"Model '{model_id}' may not be pulled over HTTP: add '{owner(model_id)}' to MODEL_OWNERS, name the "
                "model in MODELS_FILE, or pull it on the command line",
                param="model",
            )

    def _is_trusted(self, model_id: str) -> bool:
        """Whether it is of a trusted owner: native code in this process reads what whoever chose it has put there."""
        trusted = {name.lower() for name in self._settings.model_owners}
        return "*" in trusted or ("/" in model_id and owner(model_id).lower() in trusted)

    def _is_named(self, model_id: str) -> bool:
        """Whether the registry has it, or a setting or file of the operator's."""
        names = (*self._catalog.aliases, *self._settings.preload_models)
        return model_id in self._catalog.listed or model_id in map(self._catalog.resolve, names)

    def missing(self, name: str) -> ModelNotInstalled:
        """What to say of a model that is not here: how to get it, or why it cannot be got."""
        try:
            self.require_pullable(self._catalog.resolve(name))
        except ModelNotInstalled as error:
            return error
        except OwnerNotAllowed as error:
            return ModelNotInstalled(name, error.message)
        if not self._settings.manages_models:
            return ModelNotInstalled(name, "callers may not download models here (MODEL_MANAGEMENT)")
        return ModelNotInstalled(name)

    def close(self) -> None:
        self._pulls.close()
        if self._scan:
            self._scan.cancel()

    def _recheck(self, after: float) -> asyncio.Task[list[ModelInfo]] | None:
        """A look at everything: begun now, unless one is under way or ended less than `after` seconds ago."""
        if self._scan is None and time.monotonic() - self._scanned >= after:
            self._scan = asyncio.create_task(self._looking.run(self._catalog.scan), name="scan")
            self._scan.add_done_callback(self._end_scan)
        return self._scan

    def _end_scan(self, scan: asyncio.Task[list[ModelInfo]]) -> None:
        self._scan = None
        self._scanned = time.monotonic()
        if not scan.cancelled() and (error := scan.exception()) is not None:
            log.warning("the models on disk could not be listed: %s: %s", type(error).__name__, error)

    async def _look_for(self, model_id: str) -> None:
        """Those who ask for the same model at the same time share a look."""
        look = self._looks.get(model_id)
        if look is None:
            look = self._looks[model_id] = asyncio.create_task(self._seeking.run(self._catalog.look, model_id))
            look.add_done_callback(lambda look: (self._looks.pop(model_id), look.cancelled() or look.exception()))
        await asyncio.wait((look,), timeout=_PATIENCE)
        if not look.done():
            raise LoadTimeout(f"The disk with the models did not answer in {_PATIENCE:.0f} s")
        look.result()
