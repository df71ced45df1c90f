"""How engines run by the settings, where no models file says otherwise."""

from __future__ import annotations

from typing import Literal

from speech_server.engines.device import is_given_a_gpu
from speech_server.engines.interfaces import EngineArgs
from speech_server.models.catalog.info import EngineName
from speech_server.settings import Settings


def requires_gpu(settings: Settings) -> bool:
    return settings.require_gpu == "true" or (settings.require_gpu == "auto" and is_given_a_gpu())


def configured_args(engine: EngineName, settings: Settings) -> EngineArgs:
    options, required = settings.unstable_ort_opts, requires_gpu(settings)
    if engine not in ("whisper", "parakeet"):
        device: Literal["auto", "cpu"] = "cpu" if "CUDAExecutionProvider" in options.exclude_providers else "auto"
        return EngineArgs(device, provider_options=options.provider_opts, require_gpu=required)
    whisper = settings.whisper
    gpus = whisper.device_index
    return EngineArgs(
        whisper.inference_device,
        whisper.compute_type,
        whisper.cpu_threads,
        whisper.num_workers,
        (gpus,) if isinstance(gpus, int) else tuple(gpus),
        provider_options=options.provider_opts,
        extra=whisper.model_dump(include={"max_batch", "max_requests", "short_windows"}),
        require_gpu=required,
    )
