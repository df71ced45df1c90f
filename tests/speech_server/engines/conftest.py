"""A GPU that is there by all that can be asked beforehand, and by the word of sessions."""

from __future__ import annotations

import ctranslate2
import onnxruntime
import pytest

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


@pytest.fixture
def looks_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that can be asked beforehand speaks for a GPU. The runtime itself is the real one, and leaves out a provider
    that it cannot have without an error: here one that it was not built with, there one whose libraries are missing."""
    if ctranslate2.get_cuda_device_count():
        pytest.skip("there is a real one")
    monkeypatch.setattr(ctranslate2, "get_cuda_device_count", lambda: 1)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])


@pytest.fixture
def claims_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Real sessions on the CPU that say they are on a GPU: engines go by their word."""
    monkeypatch.setattr(onnxruntime.InferenceSession, "get_providers", lambda _: [CUDA, CPU])
    monkeypatch.setattr(
        onnxruntime.InferenceSession, "get_provider_options", lambda _: {CUDA: {"device_id": "0"}, CPU: {}}
    )
