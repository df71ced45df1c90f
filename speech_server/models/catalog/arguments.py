"""How engines run by the settings, where no models file says otherwise."""

from __future__ import annotations

from typing import Literal

from speech_server.engines.interfaces import EngineArgs
from speech_server.models.catalog.info import EngineName
from speech_server.settings import Settings


def configured_args(engine: EngineName, settings: Settings) -> EngineArgs:
    options = settings.unstable_ort_opts
    if engine not in ("whisper", "parakeet"):
        device: Literal["auto", "cpu"] = "cpu" if "CUDAExecutionProvider" in options.exclude_providers else "auto"
        return EngineArgs(device, provider_options=options.provider_opts)
    whisper = settings.whisper
    gpus = whisper.device_index
    return EngineArgs(
        whisper.inference_device,
        whisper.compute_type,
        whisper.cpu_threads,
        whisper.num_workers,
        (gpus,) if isinstance(gpus, int) else tuple(gpus),
        provider_options=options.provider_opts,
        extra={
            "max_batch": whisper.max_batch,
            "max_requests": whisper.max_requests,
            "short_windows": whisper.short_windows,
        },
    )
