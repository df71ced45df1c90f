"""Which model hears a request: by the name it gives, its task and its language. Refused before anything is loaded."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, cast

from speech_server.engines.by_language import ByLanguage
from speech_server.engines.interfaces import LanguageTeller, TranscribeOptions, Transcriber
from speech_server.errors import InvalidRequest
from speech_server.models.catalog.info import STT, ModelInfo

if TYPE_CHECKING:
    from speech_server.models.library.catalog import Catalog
    from speech_server.models.loader import Loader

_FAMILIES = ("parakeet", "whisper")  # the catalog's, the one to ask first at the head


@asynccontextmanager
async def transcriber(loader: Loader, name: str, options: TranscribeOptions) -> AsyncIterator[Transcriber]:
    """What transcribes; it stays loaded until the block is left.

    `auto` is the quick model for what it can do, else another that can. Where the language is not given, and both a
    quick model and one that tells languages are installed, the latter listens to the first chunk and decides.

    Raises InvalidRequest, naming a model that could, and what Loader.use raises.
    """
    async with AsyncExitStack() as stack:
        models = await choose(loader, name, options)
        engines = [await stack.enter_async_context(loader.transcriber(model.id)) for model in models]
        if len(engines) == 1:
            yield engines[0]
        else:
            quick, broad = engines
            yield ByLanguage(quick, cast("LanguageTeller", broad))


async def choose(loader: Loader, name: str, options: TranscribeOptions) -> list[ModelInfo]:
    """One model; or two, the second to say which of them it is. Raises as `transcriber` does, and loads nothing."""
    if not loader.catalog.leaves_choice(name):
        return [await _require(loader, name, options)]
    able = [model for model in _installed(loader.catalog) if _suits(model, options)]
    if options.task == "transcribe" and options.language is None and able and able[0].engine == "parakeet":
        return [able[0], *[model for model in able if model.engine == "whisper"][:1]]
    # Where nothing that is installed can do it: as whisper-1, to be downloaded or refused.
    return able[:1] or [await _require(loader, loader.catalog.best_of("whisper"), options)]


async def _require(loader: Loader, name: str, options: TranscribeOptions) -> ModelInfo:
    model = await loader.require(name, STT)
    if not _suits(model, options):
        raise _unsuitable(model, options, loader.catalog)
    return model


def _installed(catalog: Catalog) -> list[ModelInfo]:
    """Every transcriber, the one to ask first at the head."""
    preferred = [catalog.installed_model(catalog.best_of(family)) for family in _FAMILIES]
    found = [*filter(None, preferred), *(model for model in catalog.installed() if model.task == STT)]
    return list({model.id: model for model in found}.values())


def _suits(model: ModelInfo, options: TranscribeOptions) -> bool:
    if options.task == "translate" and not model.translates:
        return False
    return options.language is None or not model.languages or options.language in model.languages


def _unsuitable(model: ModelInfo, options: TranscribeOptions, catalog: Catalog) -> InvalidRequest:
    translates = options.task == "transcribe" or model.translates
    fault = f"does not know the language '{options.language}'" if translates else "does not translate"
    able = [other for other in _installed(catalog) if _suits(other, options)]
    able.sort(key=lambda other: not other.translates)  # a Whisper, should a Parakeet suit as well
    advice = f"use {able[0].id}" if able else "install a Whisper model, such as Systran/faster-whisper-base"
    return InvalidRequest(f"Model '{model.id}' {fault}: {advice}", param="language" if translates else "model")
