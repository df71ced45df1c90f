"""Where models run, found out before anybody waits for them: at the server's start, and when one is loaded."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from speech_server.engines.cuda import Card, find_cards
from speech_server.engines.device import OTHERWISE, choose, ctranslate2_fault
from speech_server.engines.interfaces import Engine, Placement
from speech_server.engines.onnx import try_convolution
from speech_server.errors import GpuUnavailable, ModelBroken
from speech_server.models.catalog.arguments import configured_args
from speech_server.settings import Settings

log = logging.getLogger(__name__)


def check_gpu(settings: Settings) -> None:
    """Blocking. Whether the libraries can compute on the GPU that has to be here; both find out only in their first
    calls, when somebody waits. Raises GpuUnavailable."""
    whisper, voices = configured_args("whisper", settings), configured_args("kokoro", settings)
    choose(whisper, ctranslate2_fault)
    if voices.device != "cpu":
        try:
            try_convolution(voices)
        except ModelBroken as error:
            raise GpuUnavailable(f"ONNX Runtime does not compute on the GPU: {error.message}. {OTHERWISE}") from error
    used = whisper.gpus if whisper.device != "cpu" else (0,) if voices.device != "cpu" else ()
    for card in find_cards(used):
        log.info("the GPU can be used: %s", _of(card))


def try_out(engine: Engine, model_id: str, seconds: float) -> tuple[Card, ...]:
    """Blocking. The engine's rehearsal, as far as it gets in time; returns the cards that it runs on, with what is free
    of their memory then. An engine that fails is closed."""
    with ExitStack() as undo:
        undo.callback(engine.close)
        _rehearse(engine, model_id, seconds)
        undo.pop_all()
    placement: Placement | None = getattr(engine, "placement", None)
    return find_cards(placement.gpus) if placement else ()


def _rehearse(engine: Any, model_id: str, seconds: float) -> None:
    if not seconds or not hasattr(engine, "rehearse"):
        return
    began = time.monotonic()
    for step in engine.rehearse():
        took = time.monotonic() - began
        log.debug("model %s: tried out %s by %.2f s", model_id, step, took)
        if took > seconds:
            log.warning("model %s has been tried out for %.0f s, up to %s: WARM_UP_TIMEOUT", model_id, took, step)
            return


def described(placement: Placement, cards: Sequence[Card]) -> dict[str, Any]:
    """For replies."""
    return {
        "device": placement.device,
        "compute_type": placement.numbers or None,
        "providers": list(placement.providers),
        "workers": placement.workers,
        "threads": placement.threads,
        "gpus": [{"name": card.name, "free_bytes": card.free_bytes, "total_bytes": card.total_bytes} for card in cards],
    }


def told(placement: Placement | None, cards: Sequence[Card]) -> str:
    """For the log: `: cuda (NVIDIA L4, 17.9 of 23.0 GB free), float16, 2 workers of 1 thread`."""
    if placement is None:
        return ""
    names = "; ".join(map(_of, cards)) or ", ".join(f"GPU {number}" for number in placement.gpus)
    words = [f"{placement.device} ({names})" if names else placement.device, placement.numbers, *placement.providers]
    threads = f"{placement.threads} thread{'s' * (placement.threads != 1)}"
    work = f"{placement.workers} worker{'s' * (placement.workers != 1)} of {threads}"
    return ": " + ", ".join(filter(None, [*words, work]))


def _of(card: Card) -> str:
    return f"{card.name}, {card.free_bytes / 1e9:.1f} of {card.total_bytes / 1e9:.1f} GB free"
