"""Every setting is a row of docs/settings.md with its true default, and every row there is a setting."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

from pydantic import BaseModel

from speech_server.settings import Settings as ServerSettings
from tests.conftest import ROOT
from worker.settings import Settings as WorkerSettings

# Read by other programs (start.sh, the SDK, huggingface_hub), documented beside ours because people set them here.
FOREIGN = {
    "CUDA_CACHE_PATH",
    "RUNPOD_GPU_COUNT",
    "RUNPOD_CPU_COUNT",
    "MODE_TO_RUN",
    "PORT",
    "HF_HOME",
    "HF_TOKEN",
    "HF_ENDPOINT",
    "HF_HUB_OFFLINE",
    "HF_HUB_ENABLE_HF_TRANSFER",
    "HF_HUB_DISABLE_XET",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_SERVICE_NAME",
    "OTEL_TRACES_SAMPLER",
    "OTEL_BSP_EXPORT_TIMEOUT",
    "RUNPOD_LOG_LEVEL",
    "RUNPOD_INIT_TIMEOUT",
}


def documented(page: str) -> dict[str, tuple[str, str]]:
    """Name -> (default, description) of each table row that starts with a name in capitals."""
    rows = re.findall(r"^\| `([A-Z][A-Z0-9_]*)` \| ([^|]*) \| ([^|]*) \|", (ROOT / page).read_text(), re.MULTILINE)
    return {name: (default.strip().strip("`"), text.strip()) for name, default, text in rows}


def written(value: object) -> str:
    if value is None or value in ("", [], (), {}):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value == int(value):
        return str(int(value))
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(value)


def server_rows(model: type[BaseModel] = ServerSettings, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from server_rows(field.annotation, f"{prefix}{name.upper()}__")
        else:
            yield (
                f"{prefix}{name.upper()}",
                written(field.get_default(call_default_factory=True)),
                field.description or "",
            )


def worker_rows() -> Iterator[tuple[str, str, str]]:
    for field in dataclasses.fields(WorkerSettings):
        yield field.metadata["env"], written(field.default), field.metadata["help"]


def test_every_setting_has_a_row_with_its_true_default():
    table = documented("docs/settings.md")
    rows = [*server_rows(), *worker_rows()]
    assert {name: default for name, default, _ in rows if name not in table or table[name][0] != default} == {}


def test_every_row_is_a_setting():
    names = {name for name, *_ in [*server_rows(), *worker_rows()]}
    assert set(documented("docs/settings.md")) - names - FOREIGN == set()


def test_every_setting_is_described():
    assert [name for name, _, text in [*server_rows(), *worker_rows()] if len(text) < 10] == []


def test_the_readme_names_only_real_settings_with_their_defaults():
    table = documented("docs/settings.md")
    readme = documented("README.md")
    assert readme, "the README has a settings table"
    assert {name: row[0] for name, row in readme.items() if name not in table or table[name][0] != row[0]} == {}
