"""Pulling, finding and removing models, with other processes at it too and some of them killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from speech_server.errors import ModelNotFound, ModelNotInstalled, ModelNotRemovable, SourceUnavailable
from speech_server.models.disk.cache import Cache, Progress
from speech_server.models.library.catalog import Catalog
from speech_server.models.library.store import Store
from speech_server.settings import Settings
from tests.conftest import ROOT
from tests.speech_server.models.conftest import install, kokoro_folder, piper_folder, whisper_folder

ID = "someone/whisper"


class Shelf:
    """A source of models from a folder, that counts how often it is asked."""

    def __init__(self, folder: Path, fails: SourceUnavailable | None = None) -> None:
        self._folder = folder
        self._fails = fails
        self.asked = 0

    def offers(self, model_id: str) -> bool:
        return True

    def fetch(self, model_id: str, cache: Cache, progress: Progress) -> None:
        from speech_server.models.sources.folder import Folder

        self.asked += 1
        if self._fails:
            raise self._fails
        Folder(self._folder).fetch(model_id, cache, progress)


def test_a_pulled_model_is_installed_and_pulling_again_asks_nobody(
    settings: Settings, catalog: Catalog, tmp_path: Path
):
    shelf = Shelf(whisper_folder(tmp_path / "shelf"))
    store = Store(settings, catalog, {"shelf": shelf})
    seen: list[tuple[int, int | None, str]] = []
    model = store.pull(ID, lambda *step: seen.append(step))
    assert (model.id, model.engine, shelf.asked) == (ID, "whisper", 1)
    assert seen[-1][0] == seen[-1][1] == model.size_bytes
    assert store.folder(ID)
    assert ID in [installed.id for installed in catalog.installed()]
    store.pull(ID)
    assert shelf.asked == 1


def test_the_next_source_is_asked_when_one_is_out_of_reach(settings: Settings, catalog: Catalog, tmp_path: Path):
    down = Shelf(tmp_path, SourceUnavailable("the hub cannot be reached"))
    store = Store(settings, catalog, {"hub": down, "packages": Shelf(whisper_folder(tmp_path / "shelf"))})
    store.pull(ID)
    assert down.asked == 1
    assert store.folder(ID)


def test_when_all_are_out_of_reach_the_error_names_each_reason(settings: Settings, catalog: Catalog, tmp_path: Path):
    sources = {name: Shelf(tmp_path, SourceUnavailable(f"{name} is down")) for name in ("hub", "packages")}
    with pytest.raises(SourceUnavailable, match="hub is down; packages is down"):
        Store(settings, catalog, sources).pull(ID)


def test_a_source_that_knows_the_model_does_not_exist_has_the_last_word(
    settings: Settings, catalog: Catalog, tmp_path: Path
):
    second = Shelf(whisper_folder(tmp_path / "shelf"))
    store = Store(settings, catalog, {"hub": Shelf(tmp_path / "empty"), "packages": second})
    with pytest.raises(ModelNotFound):
        store.pull(ID)
    assert second.asked == 0


def test_an_offline_machine_says_at_once_that_nobody_offers_a_model(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert not store.is_obtainable("someone/unknown")
    with pytest.raises(ModelNotInstalled, match="HF_HUB_OFFLINE") as refused:
        store.pull("someone/unknown")
    assert "POST" not in refused.value.message  # it would not help
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert store.is_obtainable("someone/unknown")


def test_installed_lists_complete_models_of_every_kind(cache: Cache, catalog: Catalog):
    install(cache, "a/whisper")
    install(cache, "a/kokoro", kokoro_folder)
    install(cache, "a/piper", piper_folder)
    (install(cache, "a/half") / "model.bin").unlink()
    install(cache, "a/something-else", lambda folder: (folder.mkdir(parents=True), folder)[1])
    assert {model.id: model.engine for model in catalog.installed()} == {
        "a/whisper": "whisper",
        "a/kokoro": "kokoro",
        "a/piper": "piper",
        "silero_vad_v6": "silero",
    }


def test_a_removed_model_is_gone(cache: Cache, store: Store):
    install(cache, ID)
    store.remove(ID)
    assert store.folder(ID) is None
    with pytest.raises(ModelNotInstalled):
        store.remove(ID)


def test_models_of_others_cannot_be_removed(cache: Cache, tmp_path: Path):
    platform = Cache(tmp_path / "volume" / "hub")
    install(platform, ID)
    settings = Settings(model_read_caches=[platform.root])
    store = Store(settings, Catalog(settings))
    assert store.folder(ID)
    with pytest.raises(ModelNotRemovable, match="volume"):
        store.remove(ID)
    with pytest.raises(ModelNotRemovable):
        store.remove("silero_vad_v6")
    assert store.folder(ID)


def test_a_written_model_takes_its_name_at_once(store: Store, cache: Cache):
    install(cache, "acme/calls", piper_folder)
    model = store.add("acme/calls", lambda into: (whisper_folder(into), None)[1])
    assert model.engine == "whisper"


# --- other processes ---

_PULL = """
import sys, time
from pathlib import Path
from speech_server.models.library.catalog import Catalog
from speech_server.models.sources.folder import Folder
from speech_server.models.library.store import Store
from speech_server.settings import Settings

class Slow(Folder):
    def fetch(self, model_id, cache, progress):
        def wait(done, total, label):
            print(label, flush=True)
            if "model.bin" in label:
                sys.stdin.readline()
        print("asked", flush=True)
        super().fetch(model_id, cache, wait)

settings = Settings(model_read_caches=[])
print("started", flush=True)
model = Store(settings, Catalog(settings), {"slow": Slow(Path(sys.argv[1]))}).pull("someone/whisper")
print("installed", model.size_bytes, flush=True)
"""


def pull_in_a_process(folder: Path) -> subprocess.Popen[str]:
    """Prints what it does, and waits for a line of input in the middle of model.bin."""
    return subprocess.Popen(
        [sys.executable, "-c", _PULL, str(folder)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def read_until(process: subprocess.Popen[str], words: str) -> None:
    assert process.stdout
    for line in process.stdout:
        if words in line:
            return
    pytest.fail(f"the process never said {words!r}")


def test_a_pull_killed_half_way_leaves_no_model_and_the_next_one_succeeds(
    store: Store, catalog: Catalog, cache: Cache, tmp_path: Path
):
    shelf = whisper_folder(tmp_path / "shelf")
    with pull_in_a_process(shelf) as victim:
        read_until(victim, "copying model.bin")
        assert list(cache.repository(ID).glob("incoming-*/model.bin"))
        victim.kill()
    assert store.folder(ID) is None
    assert ID not in [model.id for model in catalog.installed()]
    with pull_in_a_process(shelf) as second:
        output, _ = second.communicate("\n", timeout=30)
    assert "installed" in output
    assert store.folder(ID)
    assert list(cache.repository(ID).glob("incoming-*")) == []


def test_two_processes_pulling_at_once_fetch_once(store: Store, tmp_path: Path):
    shelf = whisper_folder(tmp_path / "shelf")
    with pull_in_a_process(shelf) as first:
        read_until(first, "copying model.bin")
        with pull_in_a_process(shelf) as second:
            read_until(second, "started")
            assert first.stdin
            first.stdin.write("\n")
            first.stdin.flush()
            read_until(first, "installed")
            output, _ = second.communicate(timeout=30)
    assert output.splitlines()[-1].startswith("installed")
    assert "asked" not in output
    assert store.folder(ID)
