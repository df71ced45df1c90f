"""The design's rules that a machine can check: import directions, light imports, heavy libraries at home."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("worker", "speech_server", "endpoint", "local_runpod")

# Each heavy library and the places that may import it, even inside a function.
HOMES = {
    "faster_whisper": ("speech_server/engines/",),
    "ctranslate2": ("speech_server/engines/", "speech_server/models/"),
    "onnxruntime": ("speech_server/engines/",),
    "kokoro_onnx": ("speech_server/engines/",),
    "piper": ("speech_server/engines/",),
    "av": ("speech_server/audio/",),
    "huggingface_hub": ("speech_server/models/",),
    "runpod": ("handler.py", "worker/"),
    "boto3": ("worker/bucket.py", "speech_server/models/"),
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


def test_importing_the_app_imports_no_engine():
    assert not loaded_by("import speech_server.app") & {
        "ctranslate2",
        "faster_whisper",
        "onnxruntime",
        "kokoro_onnx",
        "piper",
        "av",
        "huggingface_hub",
        "boto3",
        "openai",
    }


def test_the_worker_can_start_its_server_before_it_imports_the_sdk():
    assert not loaded_by("import worker.supervisor, worker.settings") & {"runpod", "boto3", "httpx", "aiohttp"}


def test_broad_excepts_stand_only_at_the_two_edges():
    broad = [
        str(path.relative_to(ROOT))
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or (isinstance(node.type, ast.Name) and node.type.id in {"Exception", "BaseException"}))
        and not (isinstance(last := node.body[-1], ast.Raise) and last.exc is None)  # tidies up and lets it pass
    ]
    assert set(broad) <= {"handler.py", "speech_server/app.py"}, broad


def test_every_file_says_what_it_is_for():
    assert [str(path) for path in sources() if not ast.get_docstring(ast.parse(path.read_text()))] == []


def test_no_file_outgrows_three_hundred_lines():
    assert [str(path) for path in sources() if len(path.read_text().splitlines()) > 300] == []
