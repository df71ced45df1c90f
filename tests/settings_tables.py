"""Writes what follows from the settings: the tables of docs/settings.md and the inputs of .runpod/hub.json.

python -m tests.settings_tables        after a change to a settings table
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import sys
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from speech_server import settings as server
from tests.conftest import ROOT
from worker import settings as worker

PAGE = ROOT / "docs" / "settings.md"
HUB = ROOT / ".runpod" / "hub.json"
TESTS = ROOT / ".runpod" / "tests.json"

# Shown at once when someone deploys from the Hub; all others are under "advanced".
FIRST = {
    "PRELOAD_MODELS": "Models to load at start",
    "DEFAULT_STT_MODEL": "Model behind whisper-1",
    "DEFAULT_TTS_MODEL": "Model behind tts-1",
    "WORKER_CONCURRENCY": "Jobs at once per worker",
    "HF_TOKEN": "Hugging Face token",
    "CHAT_COMPLETION_BASE_URL": "Language model for voice chat",
    "CHAT_COMPLETION_API_KEY": "Key for the language model",
    "BUCKET_ENDPOINT_URL": "S3 endpoint for large results",
    "BUCKET_NAME": "Bucket for large results",
    "BUCKET_ACCESS_KEY_ID": "Bucket access key",
    "BUCKET_SECRET_ACCESS_KEY": "Bucket secret key",
}
# Settings that a person deploying the image from the Hub cannot use, and why.
NOT_FOR_THE_HUB = {
    "UVICORN_HOST": "the worker chooses it",
    "UVICORN_PORT": "the worker chooses it",
    "LENDER_KEY": "the worker chooses it",
    "SPEECH_SERVER_COMMAND": "for images with another server",
    "SPEECH_SERVER_HEALTH_PATH": "for images with another server",
    "WORKER_VOLUME": "the platform mounts it at the default",
    "MODEL_READ_CACHES": "start.sh sets it",
}
# Read by start.sh, the SDK and huggingface_hub, and set by people in the same place.
FOREIGN = (
    ("MODE_TO_RUN", "queue", "queue, lb (load-balancing endpoint), pod (the default in Kubernetes) or gateway."),
    ("PORT", "80", "Where lb mode listens; 8000 is pod mode's default. The platform asks /ping there too."),
    ("HF_HOME", "", "Where models are written; start.sh takes the network volume when there is one, else ~/.cache."),
    ("HF_TOKEN", "", "Hugging Face token for gated and private models."),
    ("HF_ENDPOINT", "", "Another Hugging Face server, a mirror for instance."),
    ("HF_HUB_OFFLINE", "0", "1 never asks the Hugging Face Hub; what is installed works without it anyway."),
    ("HF_HUB_ENABLE_HF_TRANSFER", "0", "Accepted as Speaches' users know it; current huggingface_hub is fast without."),
    (
        "HF_HUB_DISABLE_XET",
        "1",
        "0 lets hf_xet download: faster for large models, past the one door out (`outgoing/`).",
    ),
    (
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "",
        "Collector that traces are sent to over OTLP/HTTP, such as http://collector:4318; without it there are none.",
    ),
    (
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "",
        "The same with its whole path, such as http://collector:4318/v1/traces.",
    ),
    (
        "OTEL_EXPORTER_OTLP_HEADERS",
        "",
        "Headers for the collector, a key for instance: name=value, comma separated, values percent-encoded.",
    ),
    ("OTEL_SERVICE_NAME", "", "Name in the traces; by default speech-worker and speech-server."),
    (
        "OTEL_TRACES_SAMPLER",
        "parentbased_always_on",
        "Which traces are kept; parentbased_traceidratio with OTEL_TRACES_SAMPLER_ARG=0.1 keeps a tenth.",
    ),
    ("OTEL_BSP_EXPORT_TIMEOUT", "2000", "Milliseconds that the last spans may take when a program ends."),
    (
        "CUDA_CACHE_PATH",
        "",
        "Where the driver keeps what it compiles for its card; start.sh takes the network volume when there is one.",
    ),
    ("RUNPOD_GPU_COUNT", "", "The platform sets it: REQUIRE_GPU's auto is then true, and jobs at once are 30."),
    ("RUNPOD_CPU_COUNT", "", "The platform sets it: CPU_COUNT where that is not set."),
    ("RUNPOD_LOG_LEVEL", "INFO", "DEBUG, INFO, WARN or ERROR for the worker and the SDK. DEBUG prints transcripts."),
    ("RUNPOD_INIT_TIMEOUT", "420", "Seconds the platform lets a worker initialise; raise it for large downloads."),
)
FOREIGN_ON_THE_HUB = {
    "HF_TOKEN",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_SERVICE_NAME",
    "OTEL_TRACES_SAMPLER",
}


@dataclasses.dataclass(frozen=True)
class Row:
    env: str
    default: Any
    text: str
    group: str
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None

    @property
    def written(self) -> str:
        """The default as one would set it; empty for none."""
        if self.default in (None, (), [], {}):
            return ""
        if isinstance(self.default, bool):
            return str(self.default).lower()
        if isinstance(self.default, float) and self.default.is_integer():
            return str(int(self.default))
        if isinstance(self.default, list | tuple):
            return ",".join(map(str, self.default))
        return str(self.default)


def groups(model: type) -> dict[str, str]:
    """Field name -> the `# --- title ---` it stands under in the source."""
    found, title = {}, ""
    for line in inspect.getsource(model).splitlines():
        if comment := re.match(r"\s+# --- (.+) ---", line):
            title = comment[1]
        elif name := re.match(r"    (\w+)\s*:", line):
            found[name[1]] = title
    return found


def server_rows(model: type[BaseModel] = server.Settings, prefix: str = "", group: str = "") -> Iterator[Row]:
    titles = groups(model)
    for name, field in model.model_fields.items():
        title = group or titles[name]
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from server_rows(kind, f"{prefix}{name.upper()}__", title)
            continue
        low, high = (
            next((getattr(rule, limit) for rule in field.metadata if hasattr(rule, limit)), None)
            for limit in ("ge", "le")
        )
        yield Row(
            env=f"{prefix}{name.upper()}",
            default=field.get_default(call_default_factory=True),
            text=field.description or "",
            group=f"Speech server: {title}",
            choices=tuple(map(str, get_args(kind))) if get_origin(kind) is Literal else (),
            low=low,
            high=high,
        )


def worker_rows() -> Iterator[Row]:
    titles = groups(worker.Settings)
    for field in dataclasses.fields(worker.Settings):
        group = f"Worker: {titles[field.name]}"
        yield Row(env=field.metadata["env"], default=field.default, text=field.metadata["help"], group=group)


def rows() -> list[Row]:
    """Both programs' settings, the worker's first, each name once."""
    every: dict[str, Row] = {}
    for row in (*worker_rows(), *server_rows()):
        every.setdefault(row.env, row)
    return list(every.values())


def page() -> str:
    head = PAGE.read_text().partition("<!-- tables -->")[0]
    text = head + "<!-- tables -->\n"
    title = ""
    for row in [*rows(), *(Row(env, default, text, "Read by other programs") for env, default, text in FOREIGN)]:
        if row.group != title:
            title = row.group
            text += f"\n## {title}\n\n| name | default | what it does |\n|---|---|---|\n"
        text += f"| `{row.env}` | {f'`{row.written}`' if row.written else ''} | {row.text.replace('|', '/')} |\n"
    return text


def hub_input(row: Row) -> dict[str, Any]:
    shown: dict[str, Any] = {"name": FIRST.get(row.env, row.env.replace("__", " ").replace("_", " ").capitalize())}
    default: Any = row.written
    if isinstance(row.default, bool):
        shown |= {"type": "boolean", "trueValue": "true", "falseValue": "false"}
        default = row.default
    elif isinstance(row.default, int | float):
        shown |= {"type": "number"} | {k: v for k, v in (("min", row.low), ("max", row.high)) if v is not None}
        default = int(row.written) if row.written.lstrip("-").isdigit() else row.default
    else:
        shown["type"] = "string"
    if row.choices and not isinstance(row.default, int):
        shown["options"] = [{"label": choice, "value": choice} for choice in row.choices]
    return shown | {"description": row.text, "default": default, "required": False, "advanced": row.env not in FIRST}


def hub() -> str:
    listing = json.loads(HUB.read_text())
    asked = [Row(env, default, text, "") for env, default, text in FOREIGN if env in FOREIGN_ON_THE_HUB]
    wanted = [row for row in [*rows(), *asked] if row.env not in NOT_FOR_THE_HUB]
    order = list(FIRST)
    wanted.sort(key=lambda row: order.index(row.env) if row.env in FIRST else len(order))
    static = [entry for entry in listing["config"]["env"] if "value" in entry]
    listing["config"]["env"] = static + [{"key": row.env, "input": hub_input(row)} for row in wanted]
    return json.dumps(listing, indent=2, ensure_ascii=False) + "\n"


def hub_tests() -> str:
    """Each test asks what the example of its name asks."""
    listing = json.loads(TESTS.read_text())
    for test in listing["tests"]:
        example = ROOT / "examples" / "jobs" / f"{test['name'].replace('_', '-')}.json"
        test["input"] = json.loads(example.read_text())["input"]
    return json.dumps(listing, indent=2, ensure_ascii=False) + "\n"


def main() -> int:
    PAGE.write_text(page())
    HUB.write_text(hub())
    TESTS.write_text(hub_tests())
    return 0


if __name__ == "__main__":
    sys.exit(main())
