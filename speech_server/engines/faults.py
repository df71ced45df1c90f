"""What the engines' libraries say when memory runs out or a GPU is lost: the one place that reads their words.

They raise RuntimeError (CTranslate2), or exceptions of their own that tell more by their text than by their type (ONNX
Runtime), so the text decides, here, once; everybody else asks for OutOfMemory or DeviceFailed. The sources:

 - CTranslate2: src/cuda/utils.h (CUDA_CHECK, CUBLAS_CHECK), src/storage_view.cc; on a CPU, seen with 4.8.5,
   "mkl_malloc: failed to allocate memory". What CUDA_CHECK adds is cudaGetErrorString's, as it stands in the library.
 - Thrust and CUB, which CTranslate2 calls: "WHERE failed: cudaErrorNAME: the same text".
 - ONNX Runtime: core/framework/bfc_arena.cc (Extend), core/providers/cuda/cuda_call.cc ("CUDA failure 700: TEXT ; GPU=0
   ...", with CUBLAS, CUDNN, CUFFT or CURAND in its place).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from speech_server.engines.cuda import is_lost
from speech_server.errors import DeviceFailed, OutOfMemory, SpeechError

_MEMORY = re.compile(
    r"out of memory|\w+_STATUS_(?:\w*_)?ALLOC(?:ATION)?_FAILED|failed to allocated? memory"
    r"|smaller than requested bytes|\bbad_alloc\b",
    re.IGNORECASE,
)
_DEVICE = re.compile(
    r"CUDA failed with error (?P<runtime>.+)"
    r"|cuBLAS failed with status (?P<cublas>\w+)"
    r"|(?:CUDA|CUBLAS|CUDNN|CUFFT|CURAND) failure \d+: (?P<onnx>[^;]+)"
    r"|\bcudaError[A-Z]\w+: (?P<thrust>.+)"
)
# These refuse one call for what it asks; the next may be right. All others leave the process without its GPU: NVIDIA
# says so of most ("to continue using CUDA, the process must be terminated and relaunched"), and of those it says it not
# of, a server that ends once too often is the lesser harm.
_REFUSALS = re.compile(
    r"^(?:invalid argument|invalid configuration argument|operation not supported"
    r"|too many resources requested for launch"
    r"|CUBLAS_STATUS_(?:INVALID_VALUE|NOT_SUPPORTED)|CUDNN_STATUS_(?:BAD_PARAM|NOT_SUPPORTED)\w*)$"
)


def explain(error: BaseException | None) -> OutOfMemory | DeviceFailed | None:
    """What a library's error means, or the one behind it; None where it is no matter of memory or of the device."""
    while error is not None:
        if isinstance(error, OutOfMemory | DeviceFailed):
            return error
        if isinstance(error, MemoryError):
            return _out_of_memory(str(error) or "the system gives no more")
        speaks = isinstance(error, RuntimeError) or type(error).__module__.startswith("onnxruntime.")
        if speaks and (fault := _read(str(error))):
            return fault
        error = error.__cause__
    return None


@contextmanager
def explained() -> Iterator[None]:
    """Raises OutOfMemory or DeviceFailed in the place of what a library, or whoever called it, says in its block."""
    try:
        yield
    except (RuntimeError, MemoryError, SpeechError) as error:
        if (fault := explain(error)) and fault is not error:
            raise fault from error
        raise


def _read(text: str) -> OutOfMemory | DeviceFailed | None:
    if found := _MEMORY.search(text):
        # ONNX Runtime's arena hides why cudaMalloc failed: on a lost GPU it fails as well.
        return DeviceFailed("it answers its driver no more") if is_lost() else _out_of_memory(found[0])
    if found := _DEVICE.search(text):
        reason = next(filter(None, found.groups())).strip()
        return None if _REFUSALS.match(reason) else DeviceFailed(reason[:200])
    return None


def _out_of_memory(reason: str) -> OutOfMemory:
    return OutOfMemory(
        f"not enough memory for this ({reason}): use a smaller model or compute type (WHISPER__COMPUTE_TYPE), fewer "
        "workers (WHISPER__NUM_WORKERS), or a machine with more"
    )
