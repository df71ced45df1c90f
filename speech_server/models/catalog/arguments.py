"""How engines run by the settings, where no models file says otherwise."""

from __future__ import annotations

from speech_server.engines.interfaces import EngineArgs
from speech_server.models.catalog.info import EngineName
from speech_server.settings import Settings


def configured_args(engine: EngineName, settings: Settings) -> EngineArgs:
    if engine not in ("whisper", "parakeet"):
        return EngineArgs()
    whisper = settings.whisper
    return EngineArgs(
        whisper.inference_device,
        whisper.compute_type,
        whisper.cpu_threads,
        whisper.num_workers,
        extra={
            "max_batch": whisper.max_batch,
            "max_requests": whisper.max_requests,
            "short_windows": whisper.short_windows,
        },
    )
