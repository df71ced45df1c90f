"""How engines run by the settings: Speaches' names for devices and for ONNX Runtime."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from speech_server.engines.onnx import providers_for
from speech_server.models.catalog.arguments import configured_args
from speech_server.models.catalog.info import EngineName
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
    args = configured_args("kokoro", Settings())
    (cuda, options), cpu = providers_for(args, cuda=True, weights=1)
    assert (cuda, cpu) == ("CUDAExecutionProvider", ("CPUExecutionProvider", {}))
    assert len(options) > 1
    assert options["gpu_mem_limit"] == 2_000_000_000
    assert providers_for(args, cuda=False) == [("CPUExecutionProvider", {})]


@pytest.mark.parametrize("engine", ["whisper", "kokoro", "wespeaker"])
@pytest.mark.parametrize(
    ("env", "required"),
    [
        ({}, False),
        ({"NVIDIA_VISIBLE_DEVICES": "0"}, True),
        ({"NVIDIA_VISIBLE_DEVICES": "0", "REQUIRE_GPU": "False"}, False),
        ({"REQUIRE_GPU": "TRUE"}, True),
        ({"REQUIRE_GPU": "auto"}, False),
    ],
)
def test_every_engine_hears_whether_a_gpu_has_to_be_there(
    monkeypatch: pytest.MonkeyPatch, engine: EngineName, env: dict[str, str], required: bool
):
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert configured_args(engine, Settings()).require_gpu is required
