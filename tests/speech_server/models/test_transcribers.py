"""Which model hears a request, by its name, task and language; and what is said where none can."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from speech_server.engines.by_language import ByLanguage
from speech_server.engines.interfaces import TranscribeOptions
from speech_server.errors import InvalidRequest, ModelNotInstalled, WrongTask
from speech_server.models.disk.cache import Cache
from speech_server.models.loader import Loader
from speech_server.models.transcribers import transcriber
from tests.speech_server.models.conftest import install, parakeet_folder
from tests.speech_server.models.engines import PIPER, Engine, Factory

pytestmark = pytest.mark.anyio

BASE = "Systran/faster-whisper-base"
V3 = "istupakov/parakeet-tdt-0.6b-v3-onnx"
V2 = "istupakov/parakeet-tdt-0.6b-v2-onnx"

MakeLoader = Callable[..., Loader]


async def chosen(loader: Loader, name: str, **options: str | None) -> list[str]:
    """The ids of the models that would hear it, in the order in which they are asked."""
    async with transcriber(loader, name, TranscribeOptions(**options)) as engine:  # type: ignore[arg-type]
        engines = [engine._quick, engine._broad] if isinstance(engine, ByLanguage) else [engine]
        return [_model_id(found.folder) for found in engines if isinstance(found, Engine)]


def _model_id(folder: Path) -> str:
    return folder.parent.parent.name.removeprefix("models--").replace("--", "/")


@pytest.fixture(autouse=True)
def languages(monkeypatch: pytest.MonkeyPatch):
    """The engines of these tests hear nothing; two that hear as one are asked for their languages all the same."""
    monkeypatch.setattr(Engine, "languages", frozenset(), raising=False)


@pytest.fixture
def loader(make_loader: MakeLoader, cache: Cache) -> Loader:
    install(cache, BASE)
    install(cache, V3, parakeet_folder)
    return make_loader(auto_download=False)


@pytest.mark.parametrize(
    ("options", "models"),
    [
        ({"language": "de"}, [V3]),
        ({"language": "ja"}, [BASE]),
        ({}, [V3, BASE]),
        ({"task": "translate"}, [BASE]),
        ({"task": "translate", "language": "de"}, [BASE]),
    ],
)
async def test_auto_is_parakeet_for_its_languages_and_whisper_for_the_rest(
    loader: Loader, options: dict[str, str], models: list[str]
):
    assert await chosen(loader, "auto", **options) == models


async def test_auto_without_a_parakeet_is_whisper(make_loader: MakeLoader, cache: Cache):
    install(cache, BASE)
    loader = make_loader(auto_download=False)
    assert await chosen(loader, "auto") == [BASE]
    assert await chosen(loader, "auto", language="de") == [BASE]


async def test_auto_takes_the_english_parakeet_for_english(make_loader: MakeLoader, cache: Cache):
    install(cache, BASE)
    install(cache, V2, lambda folder: parakeet_folder(folder, tokens=1_025))
    loader = make_loader(auto_download=False)
    assert await chosen(loader, "auto", language="en") == [V2]
    assert await chosen(loader, "auto", language="de") == [BASE]


async def test_a_model_that_is_named_is_never_another(loader: Loader):
    assert await chosen(loader, "parakeet") == [V3]
    assert await chosen(loader, BASE, language="de") == [BASE]


@pytest.mark.parametrize(
    ("options", "param", "said"),
    [
        ({"language": "ja"}, "language", f"'{V3}' does not know the language 'ja': use {BASE}"),
        ({"task": "translate"}, "model", f"'{V3}' does not translate: use {BASE}"),
    ],
)
async def test_what_parakeet_cannot_do_is_refused_before_anything_is_loaded(
    loader: Loader, factory: Factory, options: dict[str, str], param: str, said: str
):
    with pytest.raises(InvalidRequest, match=said) as refused:
        await chosen(loader, "parakeet", **options)
    assert (refused.value.status, refused.value.param) == (400, param)
    assert factory.calls == 0


async def test_a_language_whisper_does_not_know_is_refused_before_it_is_loaded(loader: Loader, factory: Factory):
    with pytest.raises(InvalidRequest, match="does not know the language 'yue'"):
        await chosen(loader, BASE, language="yue")
    assert factory.calls == 0


async def test_where_no_other_model_can_the_advice_is_to_install_one(cache: Cache, make_loader: MakeLoader):
    shutil.rmtree(cache.repository("a/whisper"))
    install(cache, V3, parakeet_folder)
    loader = make_loader(auto_download=False)
    with pytest.raises(InvalidRequest, match="install a Whisper model, such as Systran/faster-whisper-base"):
        await chosen(loader, V3, language="ja")
    with pytest.raises(ModelNotInstalled):
        await chosen(loader, "auto", language="ja")
    assert await chosen(loader, "auto") == [V3]


async def test_a_name_of_another_task_is_refused(loader: Loader):
    with pytest.raises(WrongTask):
        await chosen(loader, PIPER)


@pytest.fixture
def whisper_1_is_auto(cache: Cache):
    Path("model_aliases.json").write_text('{"whisper-1": "auto"}')


@pytest.mark.usefixtures("whisper_1_is_auto")
async def test_aliases_that_lead_whisper_1_to_auto_do_not_go_round(make_loader: MakeLoader, cache: Cache):
    install(cache, BASE)
    install(cache, V3, parakeet_folder)
    loader = make_loader(auto_download=False)
    assert await chosen(loader, "whisper-1", language="de") == [V3]
    assert await chosen(loader, "whisper-1", language="ja") == [BASE]
    assert await chosen(loader, "gpt-4o-transcribe", language="ja") == [BASE]
