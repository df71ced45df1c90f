"""What the Hub listing says is true: its files have the Hub's form and name our settings, models and routes."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from endpoint.deploy import GPUS
from speech_server.settings import Settings as ServerSettings
from tests import settings_tables
from tests.conftest import ROOT
from tests.locks import pinned, requirements
from worker.settings import read_settings

HUB = json.loads((ROOT / ".runpod" / "hub.json").read_text())
TESTS = json.loads((ROOT / ".runpod" / "tests.json").read_text())
INPUTS = {entry["key"]: entry["input"] for entry in HUB["config"]["env"] if "input" in entry}
LOCK = ROOT / "requirements" / "gpu.txt"
GPU, RUNTIME = pinned(LOCK), pinned(LOCK.with_name("runtime.txt"))
PRESETS = {preset["name"]: preset["defaults"] for preset in HUB["config"]["presets"]}


def schema(name: str) -> dict[str, Any]:
    return json.loads((ROOT / "tests" / "schemas" / name).read_text())


@pytest.mark.parametrize(("name", "listing"), [("hub.json", HUB), ("tests.json", TESTS)])
def test_the_files_have_the_hubs_form(name: str, listing: dict[str, Any]):
    jsonschema.Draft202012Validator(schema(name)).validate(listing)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"runsOn": "TPU"}, "no such machine"),
        ({"gpuIds": "RTX_4090"}, "not a pool"),
        ({"gpuIds": "AMPERE_16,"}, "a pool is missing"),
        ({"cpuFlavor": "cpu3c"}, "a GPU listing has no CPU flavour"),
        ({"allowedCudaVersions": ["12"]}, "no minor version"),
        ({"env": [{"key": "A"}]}, "neither a value nor an input"),
        (
            {"env": [{"key": "A", "input": {"name": "ab", "type": "number", "description": "x" * 10, "default": "4"}}]},
            "text",
        ),
    ],
)
def test_the_schema_refuses_what_the_hub_would(change: dict[str, Any], why: str):
    broken = {**HUB, "config": {**HUB["config"], **change}}
    assert not jsonschema.Draft202012Validator(schema("hub.json")).is_valid(broken), why


def test_every_setting_is_an_input_with_its_true_default():
    assert (ROOT / ".runpod" / "hub.json").read_text() == settings_tables.hub(), "run python -m tests.settings_tables"


def test_the_settings_page_is_up_to_date():
    assert settings_tables.PAGE.read_text() == settings_tables.page(), "run python -m tests.settings_tables"


def test_only_real_settings_are_kept_from_the_hub():
    assert set(settings_tables.NOT_FOR_THE_HUB) <= {row.env for row in settings_tables.rows()}


def test_no_key_is_asked_for_twice():
    keys = [entry["key"] for entry in HUB["config"]["env"]]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_sets_inputs_that_exist_to_values_the_programs_take(preset: str, monkeypatch: pytest.MonkeyPatch):
    values = PRESETS[preset]
    assert set(values) <= set(INPUTS)
    read_settings(values)
    for key, value in values.items():
        monkeypatch.setenv(key, value)
    settings = ServerSettings()
    assert settings.default_stt_model in settings.preload_models
    assert settings.default_tts_model in settings.preload_models


def test_the_forms_empty_and_default_values_are_taken_by_both_programs(monkeypatch: pytest.MonkeyPatch):
    values = {
        key: str(given["default"]).lower() if given["type"] == "boolean" else str(given["default"])
        for key, given in INPUTS.items()
    }
    assert read_settings(values) == read_settings({})
    unset = ServerSettings()
    for key, value in values.items():
        monkeypatch.setenv(key, value)
    assert ServerSettings() == unset


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_names_models_of_the_catalog(preset: str):
    catalog = json.loads((ROOT / "speech_server/models/catalog/catalog.json").read_text())
    known = {model["id"] for engine in ("whisper", "kokoro") for model in catalog[engine]}
    assert set(PRESETS[preset]["PRELOAD_MODELS"].split(",")) <= known


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_makes_use_of_the_gpu_that_is_paid_for(preset: str):
    values = PRESETS[preset]
    assert [name for name in values.values() if "int8" in name] == []  # of which the steps would run on the CPU
    assert not {"WHISPER__INFERENCE_DEVICE", "WHISPER__COMPUTE_TYPE", "REQUIRE_GPU"} & set(values)


def test_turbo_and_a_model_that_translates_can_be_had():
    models = [values["DEFAULT_STT_MODEL"] for values in PRESETS.values()]
    assert any("turbo" in model for model in models)
    assert any(model.endswith("large-v3") for model in models)


def test_the_listing_asks_for_the_same_gpus_as_deploy():
    """Three, by priority: the platform takes no more."""
    assert HUB["config"]["gpuIds"] == GPUS
    assert len(GPUS.split(",")) == 3


@pytest.mark.parametrize("listing", [HUB["config"], TESTS["config"]])
def test_a_host_is_only_allowed_if_its_driver_runs_the_images_cuda(listing: dict[str, Any]):
    """A driver runs every CUDA release of its own major version and of older ones (minor version compatibility)."""
    major = int(GPU["nvidia-cuda-runtime-cu12"].split(".")[0])
    allowed = [tuple(map(int, version.split("."))) for version in listing["allowedCudaVersions"]]
    assert min(allowed) >= (major, 0)
    assert any(version[0] == major for version in allowed)


def test_onnxruntime_and_the_libraries_are_of_one_cuda():
    """onnxruntime-gpu 1.26 is the last that is built for CUDA 12, which ctranslate2 4 needs."""
    assert GPU["onnxruntime-gpu"].startswith("1.26.")
    assert RUNTIME["onnxruntime"] == GPU["onnxruntime-gpu"], "what `make runtime` tests"
    names = [row.name for row in requirements(LOCK) if row.name.startswith("nvidia-")]
    assert names
    assert [name for name in names if not name.endswith("-cu12")] == []


def test_the_hubs_tests_cover_each_capability():
    paths = {test["input"]["path"].removeprefix("/v1") for test in TESTS["tests"]}
    assert paths >= {
        "/audio/transcriptions",
        "/audio/translations",
        "/audio/speech",
        "/audio/speech/timestamps",
        "/models",
        "/registry",
    }


def test_the_hubs_tests_carry_their_audio_with_them():
    for test in TESTS["tests"]:
        assert "file_url" not in test["input"], test["name"]


def test_the_hubs_tests_ask_what_the_examples_ask():
    """The examples run in our own suite, through a real worker: tests/test_examples.py."""
    assert settings_tables.TESTS.read_text() == settings_tables.hub_tests(), "run python -m tests.settings_tables"
