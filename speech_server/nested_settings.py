"""Settings that belong together and have names of their own: WHISPER__*, UNSTABLE_ORT_OPTS__*, servers for calls."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, Field


def numbers(value: object) -> object:
    """0,1 beside the JSON that nested settings may be."""
    return value.split(",") if isinstance(value, str) and "," in value else value


GpuNumber = Annotated[int, Field(ge=0)]
GpuNumbers = Annotated[list[GpuNumber], Field(min_length=1)]


class IceServer(BaseModel):
    urls: str = Field(pattern=r"^(stun|turns?):.+")
    username: str | None = None
    credential: str | None = None


class Whisper(BaseModel):
    """WHISPER__*: the transcription engines; the names are Speaches'. Parakeet runs by them too, but for the types of
    numbers and the windows, which are Whisper's."""

    model: str = Field(
        "",
        description="The model of a server that is there for one: loaded before /ping and /health are 200, what "
        "whisper-1 means, and what answers requests that name none. An id, an alias or a folder; also --model.",
    )
    inference_device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where Whisper and Parakeet run.")
    device_index: Annotated[GpuNumber | GpuNumbers, BeforeValidator(numbers)] = Field(
        0, description="Which GPU Whisper runs on; several, comma separated or as a JSON list, work side by side."
    )
    compute_type: str = Field(
        "default", description="CTranslate2 compute type; default is int8 on CPU and float16 on a GPU."
    )
    cpu_threads: int = Field(0, ge=0, description="Threads per worker; 0 means 1 on CPU.")
    num_workers: int = Field(0, ge=0, description="Parallel workers; 0 means one per core on CPU, 2 on a GPU.")
    max_batch: int = Field(
        0,
        ge=0,
        description="Most clips decoded together; 0: 8 on CPU, 32 on a GPU (Parakeet 16), fewer where memory is short.",
    )
    max_requests: int = Field(128, gt=0, description="Requests one model takes at a time; more is 429.")
    short_windows: bool = Field(
        True,
        description="Encode chunks of up to 17 s in windows of 15 or 20 s instead of 30 s: faster; repeats in 30 s "
        "when in doubt.",
    )


class OrtOptions(BaseModel):
    """UNSTABLE_ORT_OPTS__*, or UNSTABLE_ORT_OPTS as JSON: ONNX Runtime, that is speech and voices. Speaches' names."""

    exclude_providers: list[str] = Field(
        [],
        description="Execution providers that are not used, a JSON list: without CUDAExecutionProvider speech runs on "
        "the CPU.",
    )
    provider_opts: dict[str, dict[str, str | int | float | bool]] = Field(
        {}, description='Options by provider, JSON: {"CUDAExecutionProvider": {"gpu_mem_limit": 2000000000}}.'
    )
