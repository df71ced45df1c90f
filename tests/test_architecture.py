"""The design's rules that a machine can check: import directions, light imports, heavy libraries at home."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

ROOMS = ("outgoing", "worker", "speech_server", "endpoint", "local_runpod")

# Each heavy library and the places that may import it, even inside a function.
HOMES = {
    "faster_whisper": ("speech_server/engines/",),
    "ctranslate2": ("speech_server/engines/", "speech_server/models/"),
    "onnxruntime": ("speech_server/engines/",),
    "onnx_asr": ("speech_server/engines/",),
    "kokoro_onnx": ("speech_server/engines/",),
    "piper": ("speech_server/engines/",),
    "av": ("speech_server/audio/", "speech_server/realtime/live/track.py"),
    "aiortc": ("speech_server/realtime/live/call.py", "speech_server/realtime/live/track.py"),
    "aioice": ("speech_server/realtime/live/call.py",),
    "huggingface_hub": ("speech_server/models/",),
    "opentelemetry": ("outgoing/tracing.py",),
    "runpod": ("handler.py", "worker/"),
    "boto3": (
        "worker/answer/bucket.py",
        "speech_server/models/",
        "endpoint/gateway/storage.py",
        "endpoint/platform/s3.py",
    ),
}

# Libraries that open connections, and the files that may use them: through the door, or because of who says where to.
CLIENTS = (
    "aiohttp", "boto3", "botocore", "ftplib", "http.client", "httpcore", "httpx", "httpx2", "huggingface_hub", "openai",
    "opentelemetry.exporter",
    "requests", "urllib.request", "urllib3", "websockets.asyncio.client", "websockets.sync.client",
)  # fmt: skip
DOOR = "through the door"
LOOPBACK = "the speech server beside it, on a port that the supervisor chose"
PLATFORM = "the platform itself, at the addresses it puts into the environment"
ARGUMENT = "a command: the address is what its user typed"
MAY_CONNECT = {
    "outgoing/aws.py": "the door: the names of urllib3's errors",
    "outgoing/door.py": "the door: urllib.request knows the environment's proxies",
    "outgoing/tracing.py": "OpenTelemetry's own exporter, to the collector that whoever runs this has named",
    "worker/proxy.py": LOOPBACK,
    "worker/server/forward.py": LOOPBACK,
    "worker/answer/progress.py": LOOPBACK,
    "worker/server/transport.py": LOOPBACK,
    "worker/realtime/visit.py": LOOPBACK,
    "worker/job/lending.py": LOOPBACK,
    "worker/job/parts.py": "a client that download.py made, through the door",
    "speech_server/audio/lent/file.py": "loopback, and only at addresses that hold the key of this process",
    **dict.fromkeys(
        ("worker/platform/sdk.py", "worker/platform/poll.py", "worker/platform/take.py", "worker/platform/deliver.py"),
        PLATFORM,
    ),
    "worker/answer/bucket.py": DOOR,
    "worker/job/download.py": DOOR,
    "speech_server/language_model.py": DOOR,
    "speech_server/models/sources/hub.py": DOOR,
    "speech_server/models/sources/s3.py": DOOR,
    "endpoint/platform/http.py": DOOR,
    "endpoint/platform/answers.py": "a client that platform.py made, through the door",
    "endpoint/api.py": "a client that platform.py made, through the door",
    "endpoint/talk.py": f"a WebSocket of {ARGUMENT}",
    "endpoint/gateway/storage.py": "a client that platform/s3.py made, through the door",
    "endpoint/platform/s3.py": DOOR,
    "endpoint/bulk/sound.py": DOOR,
    "endpoint/gateway/realtime.py": "a session's address, as the worker of the endpoint that was named told it",
    "local_runpod/webhooks.py": DOOR,
}


def sources() -> list[Path]:
    return [ROOT / "handler.py", *(path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py")))]


def imported(tree: ast.AST) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


def modules(tree: ast.AST) -> set[str]:
    """Dotted names, both of modules and of what is taken out of them."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stdout.split()}


def test_import_directions_hold():
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("library", HOMES)
def test_a_heavy_library_is_imported_only_at_home(library: str):
    strangers = [
        name
        for path in sources()
        if not (name := str(path.relative_to(ROOT))).startswith(HOMES[library])
        and library in imported(ast.parse(path.read_text()))
    ]
    assert strangers == []


def test_only_the_doors_users_open_connections():
    """Everything else that opens a URL would be a second way out."""
    found = {}
    for path in sources():
        names = modules(ast.parse(path.read_text()))
        if any(name == client or name.startswith(f"{client}.") for name in names for client in CLIENTS):
            found[str(path.relative_to(ROOT))] = names
    assert set(found) == set(MAY_CONNECT)
    users = [file for file, why in MAY_CONNECT.items() if why == DOOR]
    assert [file for file in users if not any(name.startswith("outgoing.") for name in found[file])] == []


def test_importing_the_app_imports_no_engine():
    assert not loaded_by("import speech_server.app") & {
        "ctranslate2",
        "faster_whisper",
        "onnxruntime",
        "kokoro_onnx",
        "piper",
        "av",
        "numpy",
        "huggingface_hub",
        "boto3",
        "openai",
        "google",  # protobuf: what OpenTelemetry's exporter is made of; its interfaces are FastAPI's own
        "requests",
    }


def test_the_worker_can_start_its_server_before_it_imports_the_sdk():
    assert not loaded_by("import worker.server.supervisor, worker.settings, worker.job.parse") & {
        "runpod",
        "boto3",
        "httpx",
        "aiohttp",
        "opentelemetry",
    }


def test_broad_excepts_stand_only_at_the_two_edges():
    broad = [
        str(path.relative_to(ROOT))
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or (isinstance(node.type, ast.Name) and node.type.id in {"Exception", "BaseException"}))
        and not (isinstance(last := node.body[-1], ast.Raise) and last.exc is None)  # tidies up and lets it pass
    ]
    assert set(broad) <= {"worker/proxy.py", "speech_server/app.py"}, broad


def test_the_speech_server_knows_nothing_of_the_platform():
    knowing = [
        str(path)
        for path in sorted((ROOT / "speech_server").rglob("*.*"))
        if path.suffix in {".py", ".json", ".html"}
        and "runpod" in path.read_text().lower().replace("runpod-speech", "")
    ]
    assert knowing == []


def test_every_file_says_what_it_is_for():
    assert [str(path) for path in sources() if not ast.get_docstring(ast.parse(path.read_text()))] == []


def test_no_file_outgrows_three_hundred_lines():
    assert [str(path) for path in sources() if len(path.read_text().splitlines()) > 300] == []
