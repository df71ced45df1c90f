"""What the libraries say of memory and of a lost GPU, in their own words, is told apart from all else they say."""

from __future__ import annotations

import pytest
from onnxruntime.capi import onnxruntime_pybind11_state as onnx

from speech_server.engines.faults import explain, explained
from speech_server.errors import DeviceFailed, InvalidRequest, ModelBroken, OutOfMemory, SpeechError

NODE = "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running Conv node. "
ARENA = NODE + "Status Message: /onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:376 "

MEMORY = [
    RuntimeError("CUDA failed with error out of memory"),
    RuntimeError("cuBLAS failed with status CUBLAS_STATUS_ALLOC_FAILED"),
    RuntimeError("mkl_malloc: failed to allocate memory"),  # CTranslate2 on a CPU
    RuntimeError("failed to allocated memory"),  # its StorageView::reserve
    RuntimeError("parallel_for failed: cudaErrorMemoryAllocation: out of memory"),
    RuntimeError("std::bad_alloc"),
    MemoryError(),
    onnx.RuntimeException(ARENA + "Failed to allocate memory for requested buffer of size 177566515"),
    onnx.Fail(ARENA + "Available memory of 117729587 is smaller than requested bytes of 123312537"),
    onnx.Fail("[ONNXRuntimeError] : 1 : FAIL : CUDA failure 2: out of memory ; GPU=0 ; hostname=a ; expr=cudaMalloc()"),
    onnx.Fail(NODE + "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0 ; hostname=a"),
    onnx.EPFail(NODE + "CUDNN failure 4003: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED ; GPU=0"),
]

LOST = {
    "CUDA failed with error an illegal memory access was encountered": "illegal memory access",
    "CUDA failed with error device-side assert triggered": "device-side assert",
    "CUDA failed with error unspecified launch failure": "unspecified launch failure",
    "CUDA failed with error uncorrectable ECC error encountered": "uncorrectable ECC error",
    "CUDA failed with error driver shutting down": "driver shutting down",
    "CUDA failed with error something no list has": "something no list has",
    "cuBLAS failed with status CUBLAS_STATUS_EXECUTION_FAILED": "CUBLAS_STATUS_EXECUTION_FAILED",
    "radix_sort: failed on 1st step: cudaErrorIllegalAddress: an illegal memory access was encountered": "illegal",
    "[ONNXRuntimeError] : 1 : FAIL : CUDA failure 700: an illegal memory access was encountered ; GPU=0 ; hostname=a ; "
    "file=/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_graph.cc ; line=49 ;": r"\(an illegal .* encountered\)",
    NODE + "CUDNN failure 5000: CUDNN_STATUS_EXECUTION_FAILED ; GPU=0 ; hostname=a": "CUDNN_STATUS_EXECUTION_FAILED",
}

NEITHER = [
    None,
    RuntimeError("CUDA failed with error invalid argument"),
    RuntimeError("cuBLAS failed with status CUBLAS_STATUS_NOT_SUPPORTED"),
    RuntimeError("Library libcublas.so.12 is not found or cannot be loaded"),
    RuntimeError("can't start new thread"),
    ValueError("Requested int8 compute type, but the target device out of memory"),  # its words, but not its type
    InvalidRequest("the prompt 'CUDA failed with error out of memory' is too long"),  # what a client wrote
    onnx.InvalidArgument("[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Got invalid dimensions for input: x"),
]


@pytest.mark.parametrize("error", MEMORY, ids=str)
def test_what_means_that_memory_ran_out(error: Exception):
    assert isinstance(explain(error), OutOfMemory)


@pytest.mark.parametrize("text", LOST)
@pytest.mark.parametrize("kind", [RuntimeError, onnx.Fail, onnx.EPFail])
def test_what_means_that_the_gpu_is_lost(kind: type[Exception], text: str):
    fault = explain(kind(text))
    assert isinstance(fault, DeviceFailed)
    with pytest.raises(DeviceFailed, match=LOST[text]):
        raise fault


@pytest.mark.parametrize("error", NEITHER, ids=str)
def test_what_means_neither(error: Exception | None):
    assert explain(error) is None


def test_what_an_engine_made_of_it_is_read_through():
    broken = ModelBroken("the Whisper model in /m cannot be loaded: CUDA failed with error out of memory")
    broken.__cause__ = RuntimeError("CUDA failed with error out of memory")
    with pytest.raises(OutOfMemory, match="use a smaller model") as raised, explained():
        raise broken
    assert raised.value.__cause__ is broken


def test_other_errors_pass_as_they_are():
    for error in (ModelBroken("no model.bin"), RuntimeError("no"), LookupError("no")):
        with pytest.raises(type(error)) as raised, explained():
            raise error
        assert raised.value is error


def test_clients_are_told_no_paths_of_the_library(capsys: pytest.CaptureFixture[str]):
    for fault in (explain(error) for error in (*MEMORY, *map(RuntimeError, LOST))):
        assert isinstance(fault, SpeechError)
        assert "onnxruntime_src" not in fault.message
        assert "hostname" not in fault.message
