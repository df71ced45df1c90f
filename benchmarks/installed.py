"""Where the models are that `make models` brought, or somebody else."""

from __future__ import annotations

from pathlib import Path


def installed(model_id: str) -> Path | None:
    """The model's folder; None where it is not installed."""
    from speech_server.models.library.catalog import Catalog
    from speech_server.models.library.store import Store
    from speech_server.settings import Settings

    settings = Settings()
    return Store(settings, Catalog(settings)).folder(model_id)
