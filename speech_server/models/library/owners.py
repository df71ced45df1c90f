"""Whose models may be pulled over HTTP: those the server knows or its operator named, and those of trusted owners.

A model file is read by native code in the server's process; whoever may choose the file should be somebody trusted.
"""

from __future__ import annotations

from speech_server.errors import OwnerNotAllowed
from speech_server.models.catalog.info import owner
from speech_server.models.library.catalog import Catalog
from speech_server.settings import Settings


class Owners:
    def __init__(self, settings: Settings, catalog: Catalog) -> None:
        self._trusted = {name.lower() for name in settings.model_owners}
        self._preloaded = settings.preload_models
        self._catalog = catalog

    def require(self, model_id: str) -> None:
        """Raises OwnerNotAllowed."""
        name = owner(model_id)
        if "*" in self._trusted or ("/" in model_id and name.lower() in self._trusted) or self._is_named(model_id):
            return
        raise OwnerNotAllowed(
            f"Model '{model_id}' may not be pulled over HTTP: add '{name}' to MODEL_OWNERS, name the model in "
            "MODELS_FILE, or pull it on the command line",
            param="model",
        )

    def _is_named(self, model_id: str) -> bool:
        """Whether the registry has it, or a setting or file of the operator's."""
        names = (*self._catalog.aliases, *self._preloaded)
        return self._catalog.is_listed(model_id) or model_id in map(self._catalog.resolve, names)
