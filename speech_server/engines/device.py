"""Which device an engine runs on: what is asked for, what can be used here, and whether it may go without a GPU."""

from __future__ import annotations

import ctypes
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

from speech_server.engines.cuda import Driver
from speech_server.engines.interfaces import EngineArgs
from speech_server.errors import GpuUnavailable

log = logging.getLogger(__name__)

_CUBLAS = "libcublas.so.12"  # ctranslate2 4 opens it at the first multiplication, long after it has said it is ready
_DEV = Path("/dev")
OTHERWISE = "REQUIRE_GPU=false lets this server run on the CPU instead"


def is_given_a_gpu(environ: Mapping[str, str] = os.environ, dev: Path = _DEV) -> bool:
    """Whether this container was started with a card, by what NVIDIA's container runtime goes by.

    `all` alone says nothing: it is part of our image, and stays there on machines that have no card.
    """
    wanted = environ.get("NVIDIA_VISIBLE_DEVICES", "").strip()
    if wanted in ("", "void", "none"):
        return False
    return wanted != "all" or _has_card(dev)


def ctranslate2_fault() -> str:
    """Why CTranslate2 cannot compute on a GPU here; empty where it can."""
    if fault := _no_card():
        return fault
    try:
        ctypes.CDLL(_CUBLAS)
    except OSError as error:
        return (
            f"CUDA's library {_CUBLAS} cannot be opened ({error}): the image for GPUs has it, elsewhere "
            "requirements/gpu.txt brings it, and LD_LIBRARY_PATH has to name its folder"
        )
    return ""


def onnxruntime_fault() -> str:
    """The same for ONNX Runtime, as far as it can be known before a session is open."""
    import onnxruntime

    if not is_for_cuda():
        return (
            f"ONNX Runtime {onnxruntime.__version__} was installed without CUDA: the image for GPUs has "
            "onnxruntime-gpu in its place (DEVICE=gpu)"
        )
    return _no_card()


def is_for_cuda() -> bool:
    """Whether the ONNX Runtime that is installed is the one for GPUs, be there one now or not."""
    import onnxruntime

    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def choose(args: EngineArgs, fault: Callable[[], str]) -> Literal["cpu", "cuda"]:
    """Raises GpuUnavailable where a GPU was asked for, or is required, and cannot be used."""
    if args.device == "cpu":
        return "cpu"
    reason = fault()
    if not reason:
        return "cuda"
    if args.device == "cuda" or args.require_gpu:
        raise GpuUnavailable(f"a GPU is needed here, and cannot be used: {reason}. {way_out(args)}")
    if _has_card(_DEV):  # CTranslate2's import takes too long to ask it here
        log.warning("there is a GPU, and it is not used: %s", reason)
    return "cpu"


def prefer_cpu(args: EngineArgs) -> EngineArgs:
    """For models that gain nothing by a GPU: only where cuda is asked for do they run on one."""
    return replace(args, device="cpu") if args.device == "auto" else args


def way_out(args: EngineArgs) -> str:
    return "The device that was asked for is cuda; cpu works" if args.device == "cuda" else OTHERWISE


def _has_card(dev: Path) -> bool:
    """By the driver's files: nvidia0, nvidia1, ...; under WSL there is one for all cards."""
    return any(dev.glob("nvidia[0-9]*")) or (dev / "dxg").exists()


def _no_card() -> str:
    import ctranslate2

    if ctranslate2.get_cuda_device_count():
        return ""
    try:
        count = Driver().count()
    except GpuUnavailable as error:
        return error.message
    return f"NVIDIA's driver shows {count} cards, CTranslate2 finds none: is CUDA_VISIBLE_DEVICES set?"
