"""Answers the session's questions whether a turn is over, where a turn model is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from speech_server.domain import Samples
from speech_server.engines.interfaces import TurnModel
from speech_server.models.catalog.info import TURNS
from speech_server.models.optional import optional_engine

if TYPE_CHECKING:
    from speech_server.models.loader import Loader

TURN_MODEL = "smart-turn"  # an alias: DEFAULT_TURN_MODEL, or Silero, which hears silence and no more
_LIKELY = 0.5


async def has_finished(samples: Samples, loader: Loader) -> bool | None:
    """None where no turn model is installed. Raises SpeechError."""
    async with optional_engine(loader, TURN_MODEL, TURNS) as engine:
        return await cast(TurnModel, engine).finished(samples) >= _LIKELY if engine else None
