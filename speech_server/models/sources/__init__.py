"""Where the bytes of a model come from: a hub, an S3 bucket, a folder, parts in package-index archives."""

from __future__ import annotations

from typing import Protocol

from speech_server.models.disk.cache import Cache, Progress


class Source(Protocol):
    def offers(self, model_id: str) -> bool:
        """Whether asking makes sense at all; answered from memory."""
        ...

    def fetch(self, model_id: str, cache: Cache, progress: Progress) -> None:
        """Put the whole model into the cache; the caller holds its lock. Blocking.

        Raises ModelNotFound, ModelGated, SourceUnavailable, StorageFull.
        """
        ...
