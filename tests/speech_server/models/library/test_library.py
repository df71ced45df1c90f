"""What is installed, as the event loop knows it: from memory, and true within seconds."""

from __future__ import annotations

import asyncio
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from speech_server.app import compose
from speech_server.errors import LoadTimeout, ModelInUse, ModelNotInstalled, OwnerNotAllowed
from speech_server.models.catalog.info import STT, TTS
from speech_server.models.catalog.listing import list_models, read_data
from speech_server.models.disk.cache import Cache
from speech_server.models.library import library as library_module
from speech_server.models.library.catalog import Catalog
from speech_server.models.library.store import Store
from speech_server.routes.state import Speech
from speech_server.settings import Settings
from tests.speech_server.models.conftest import install, piper_folder, whisper_folder

pytestmark = pytest.mark.anyio
BASE = "Systran/faster-whisper-base"
LIMIT = 10.0

_heard: list[str] | None = None
_listener = 0


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if _heard is not None and threading.get_ident() == _listener and event in ("open", "os.listdir", "os.scandir"):
        _heard.append(f"{event} {arguments[0]}")


sys.addaudithook(_hear)


@contextmanager
def file_calls() -> Iterator[list[str]]:
    """What this thread asks of the file system: every call of a C function of `posix` or `_io`, whoever makes it
    (pathlib, importlib, a directory entry), and what the interpreter itself opens."""
    global _heard, _listener
    _heard, _listener = [], threading.get_ident()
    heard = _heard

    def profile(frame: FrameType, event: str, called: Any) -> None:
        if event == "c_call":
            owner = getattr(called, "__self__", None)
            home = getattr(called, "__module__", None) or type(owner).__module__
            if home in ("posix", "_io", "io") or type(owner).__name__ in ("DirEntry", "ScandirIterator"):
                heard.append(f"{home}.{called.__name__}")

    sys.setprofile(profile)
    try:
        yield heard
    finally:
        sys.setprofile(None)
        _heard = None


@pytest.fixture
def make(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Speech]:
    def compose_with(**values: object) -> Speech:
        return compose(Settings(**{"model_read_caches": [], "model_recheck_interval": 3600, **values}))

    return compose_with


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT):
        while not condition():  # noqa: ASYNC110  # the disk has no event for it
            await asyncio.sleep(0.01)


def test_the_counter_of_file_calls_sees_them_all(cache: Cache, tmp_path: Path):
    for act in (
        lambda: (tmp_path / "x").exists(),
        lambda: list(tmp_path.iterdir()),
        lambda: list(tmp_path.glob("*")),
        lambda: (tmp_path / "x").is_symlink(),
        lambda: (tmp_path / "y").write_text("a"),
        lambda: cache.folder(BASE),
        lambda: sys.path_importer_cache.clear() or __import__("importlib.util").util.find_spec("surely_not_there"),
    ):
        with file_calls() as calls:
            act()
        assert calls, act


@pytest.mark.parametrize("name", ["whisper-1", BASE, "openai/whisper-base", "Systran/faster-whisper-large-v3"])
async def test_checking_a_model_asks_nothing_of_the_disk_on_the_loop(
    make: Callable[..., Speech], cache: Cache, name: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    install(cache, BASE)
    speech = make()
    speech.loader.check(name, STT)
    with file_calls() as calls:
        speech.loader.check(name, STT)
        speech.library.resolve(name)
        list(speech.catalog.aliases.items())
    assert calls == []


async def test_seeking_an_installed_model_asks_nothing_of_the_disk_on_the_loop(
    make: Callable[..., Speech], cache: Cache
):
    install(cache, BASE)
    speech = make()
    with file_calls() as calls:
        assert await speech.library.seek("whisper-1") == BASE
    assert calls == []


async def test_seeking_an_unknown_model_looks_in_a_thread(make: Callable[..., Speech], cache: Cache):
    speech = make()
    await speech.library.seek("someone/warm-up")
    with file_calls() as calls:
        await speech.library.seek("someone/unknown")
    assert [call for call in calls if "wakeup" not in call] == []


async def test_a_model_put_there_by_others_is_found_at_once_by_its_name(make: Callable[..., Speech], cache: Cache):
    speech = make(auto_download=False)
    with pytest.raises(ModelNotInstalled):
        speech.loader.check("someone/new", STT)
    install(cache, "someone/new")
    await speech.library.seek("someone/new")
    assert speech.loader.check("someone/new", STT).id == "someone/new"


async def test_what_others_put_there_and_take_away_is_seen_within_the_interval(
    make: Callable[..., Speech], cache: Cache
):
    install(cache, BASE)
    speech = make(model_recheck_interval=0.05)
    install(cache, "Systran/faster-whisper-medium")  # hears better than base

    async def means(model_id: str) -> None:
        async with asyncio.timeout(LIMIT):
            while await speech.library.seek("whisper-1") != model_id:  # noqa: ASYNC110  # the disk has no event for it
                await asyncio.sleep(0.01)

    await means("Systran/faster-whisper-medium")
    shutil.rmtree(cache.repository("Systran/faster-whisper-medium"))
    await means(BASE)


async def test_one_look_at_a_time_and_not_more_often_than_the_interval(
    make: Callable[..., Speech], cache: Cache, monkeypatch: pytest.MonkeyPatch
):
    install(cache, BASE)
    speech = make(model_recheck_interval=0.001)
    looks, gate = list[int](), threading.Event()
    scan = speech.catalog.scan
    monkeypatch.setattr(speech.catalog, "scan", lambda: (looks.append(1), gate.wait(LIMIT), scan())[2])
    await asyncio.sleep(0.01)
    for _ in range(100):
        await speech.library.seek(BASE)
    await until(lambda: bool(looks))
    assert looks == [1]
    gate.set()


async def test_a_disk_that_does_not_answer_stops_neither_the_loop_nor_what_is_known(
    make: Callable[..., Speech], cache: Cache, monkeypatch: pytest.MonkeyPatch
):
    install(cache, BASE)
    speech = make(model_recheck_interval=0.001)
    gate = threading.Event()
    monkeypatch.setattr(library_module, "_PATIENCE", 0.05)
    monkeypatch.setattr(speech.catalog, "scan", lambda: gate.wait(LIMIT) and [])
    monkeypatch.setattr(speech.catalog, "look", lambda model_id: gate.wait(LIMIT) and None)
    assert await speech.library.seek(BASE) == BASE
    with pytest.raises(LoadTimeout, match="disk"):
        await speech.library.seek("someone/unknown")
    assert BASE in {model.id for model in await speech.library.installed()}
    gate.set()


async def test_what_is_pulled_and_removed_here_is_known_at_once(
    make: Callable[..., Speech], cache: Cache, tmp_path: Path
):
    whisper_folder(tmp_path / "mine")
    speech = make(
        models='[{name: mine, url: "file://%s", files: {preprocessor_config.json: "{}"}}]' % (tmp_path / "mine")
    )
    assert speech.catalog.folder("mine") is None
    await speech.library.pull("mine")
    assert speech.catalog.folder("mine")
    await speech.loader.remove("mine")
    assert speech.catalog.folder("mine") is None


async def test_a_model_that_is_being_pulled_is_not_removed(
    make: Callable[..., Speech], cache: Cache, monkeypatch: pytest.MonkeyPatch
):
    gate = threading.Event()
    monkeypatch.setattr(Store, "pull", lambda *_: gate.wait(LIMIT))
    speech = make()
    pulling = asyncio.create_task(speech.library.pull(BASE))
    await until(lambda: BASE in speech.library._pulls)
    with pytest.raises(ModelInUse, match="downloaded"):
        await speech.library.remove(BASE)
    gate.set()
    await pulling


async def test_installed_models_load_while_every_pull_is_taken(
    make: Callable[..., Speech], cache: Cache, monkeypatch: pytest.MonkeyPatch
):
    install(cache, "a/voice", piper_folder)
    gate = threading.Event()
    monkeypatch.setattr(Store, "pull", lambda *_: gate.wait(LIMIT))
    speech = make(model_pulls=1, model_pulls_waiting=0)
    pulling = asyncio.create_task(speech.library.pull(BASE))
    await until(lambda: BASE in speech.library._pulls)
    assert (await speech.library.pull("a/voice")).id == "a/voice"
    gate.set()
    await pulling


# --- whose models ---


@pytest.mark.parametrize(
    ("owners", "model_id", "allowed"),
    [
        (None, BASE, True),
        (None, "Systran/anything", True),
        (None, "systran/anything", True),
        (None, "evil/x", False),
        ("", BASE, True),
        ("", "Systran/anything", False),
        ("evil", "evil/x", True),
        ("*", "anybody/x", True),
        ('["evil"]', "evil/x", True),
        (None, "kept/warm", True),
        (None, "aliased/model", True),
        (None, "mine", True),
    ],
)
async def test_callers_pull_what_is_known_named_or_of_a_trusted_owner(
    make: Callable[..., Speech], monkeypatch: pytest.MonkeyPatch, owners: str | None, model_id: str, allowed: bool
):
    Path("model_aliases.json").write_text('{"fast": "aliased/model"}')  # noqa: ASYNC240
    monkeypatch.setenv("PRELOAD_MODELS", "kept/warm")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    values = {"models": "[{name: mine, url: 'hf://evil/x'}]"} | ({} if owners is None else {"model_owners": owners})
    speech = make(**values)
    if allowed:
        speech.library.require_pullable(model_id)
    else:
        with pytest.raises(OwnerNotAllowed, match="MODEL_OWNERS"):
            speech.library.require_pullable(model_id)


def test_the_owners_trusted_by_default_are_those_with_many_models_in_the_catalog(catalog: Catalog):
    """Encoder, segmentation and turn model are one each, and can be pulled because the catalog names them."""
    many = [model for model in list_models(read_data()) if model.task in (STT, TTS)]
    owners = {model.id.partition("/")[0] for model in many if "/" in model.id and catalog.origin(model.id) is None}
    assert sorted(owners, key=str.lower) == Settings.model_fields["model_owners"].default


@pytest.mark.parametrize(
    ("values", "offline", "name", "advice"),
    [
        ({}, "0", "Systran/unknown", "POST /v1/models/Systran/unknown"),
        ({}, "1", "Systran/unknown", "no source offers it"),
        ({}, "0", "evil/x", "MODEL_OWNERS"),
        ({"model_management": "off"}, "0", "Systran/unknown", "MODEL_MANAGEMENT"),
        ({"auto_download": False}, "0", BASE, f"POST /v1/models/{BASE}"),
    ],
)
async def test_what_is_said_of_a_missing_model_would_help(
    make: Callable[..., Speech],
    monkeypatch: pytest.MonkeyPatch,
    values: dict[str, object],
    offline: str,
    name: str,
    advice: str,
):
    monkeypatch.setenv("HF_HUB_OFFLINE", offline)
    with pytest.raises(ModelNotInstalled) as refused:
        make(**values).loader.check(name, STT)
    assert refused.value.message.startswith(f"Model '{name}' is not installed locally")
    assert advice in refused.value.message
    assert ("POST" in refused.value.message) == advice.startswith("POST")


@pytest.mark.parametrize("name", ["speecht5_tts_spanish", "Sandiago21/speecht5_finetuned_facebook_voxpopuli_spanish"])
async def test_a_model_the_hub_has_in_another_form_is_not_fetched_but_explained(
    make: Callable[..., Speech], monkeypatch: pytest.MonkeyPatch, name: str
):
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    speech = make()
    with pytest.raises(ModelNotInstalled, match=r"is not installed locally: .*`optimum-cli export onnx`"):
        speech.loader.check(name, TTS)
    with pytest.raises(ModelNotInstalled, match="`optimum-cli export onnx`"):
        speech.library.require_pullable(speech.library.resolve(name))
