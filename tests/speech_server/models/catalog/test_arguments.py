"""How engines run by the settings: Speaches' names for devices and for ONNX Runtime."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from speech_server.engines.onnx import providers
from speech_server.models.catalog.arguments import configured_args
from speech_server.settings import Settings


@pytest.mark.parametrize(
    ("written", "gpus"), [("", (0,)), ("1", (1,)), ("0,1", (0, 1)), ("[2, 3]", (2, 3)), (" 0 , 2 ", (0, 2))]
)
def test_whisper_runs_on_the_gpus_that_are_named(monkeypatch: pytest.MonkeyPatch, written: str, gpus: tuple[int, ...]):
    monkeypatch.setenv("WHISPER__DEVICE_INDEX", written)
    assert configured_args("whisper", Settings()).gpus == gpus


@pytest.mark.parametrize("written", ["-1", "first", "[]", "0,x"])
def test_what_is_no_gpus_number_is_refused(monkeypatch: pytest.MonkeyPatch, written: str):
    monkeypatch.setenv("WHISPER__DEVICE_INDEX", written)
    with pytest.raises(ValidationError, match="device_index"):
        Settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("UNSTABLE_ORT_OPTS", '{"exclude_providers": ["TensorrtExecutionProvider", "CUDAExecutionProvider"]}'),
        ("UNSTABLE_ORT_OPTS__EXCLUDE_PROVIDERS", '["CUDAExecutionProvider"]'),
    ],
)
def test_speech_leaves_the_gpu_where_its_provider_is_excluded(monkeypatch: pytest.MonkeyPatch, name: str, value: str):
    assert configured_args("kokoro", Settings()).device == "auto"
    monkeypatch.setenv(name, value)
    assert configured_args("kokoro", Settings()).device == "cpu"
    assert configured_args("whisper", Settings()).device == "auto"


def test_a_providers_options_go_over_ours(monkeypatch: pytest.MonkeyPatch):
    limit = '{"CUDAExecutionProvider": {"gpu_mem_limit": 2000000000}}'
    monkeypatch.setenv("UNSTABLE_ORT_OPTS", f'{{"provider_opts": {limit}, "provider_priority": {{}}}}')
    given = configured_args("piper", Settings()).provider_options
    assert providers(True, given) == [
        ("CUDAExecutionProvider", {"cudnn_conv_algo_search": "HEURISTIC", "gpu_mem_limit": 2_000_000_000}),
        ("CPUExecutionProvider", {}),
    ]
    assert providers(False, given) == [("CPUExecutionProvider", {})]
    ours = {"CUDAExecutionProvider": {"cudnn_conv_algo_search": "DEFAULT"}}
    assert providers(True, ours)[0] == ("CUDAExecutionProvider", {"cudnn_conv_algo_search": "DEFAULT"})
