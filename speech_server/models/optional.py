"""Models that one can do without: their aliases mean the voice detector where none of them is installed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from speech_server.engines.interfaces import Engine

if TYPE_CHECKING:
    from speech_server.models.catalog.info import Task
    from speech_server.models.loader import Loader


@asynccontextmanager
async def optional_engine(loader: Loader, alias: str, task: Task) -> AsyncIterator[Engine | None]:
    """None where there is none. Raises what Loader.use raises."""
    await loader.library.seek(alias)
    if loader.check(alias).engine == "silero":
        yield None
        return
    async with loader.use(alias, task) as engine:
        yield engine
