"""The catalog: which models exist, by which names, and which one an alias means."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from speech_server.engines.interfaces import EngineArgs, Voice
from speech_server.engines.kokoro_voices import describe as kokoro_voice
from speech_server.errors import ModelNotFound
from speech_server.models.aliases import read_aliases
from speech_server.models.cache import open_cache
from speech_server.models.info import ModelInfo, Task
from speech_server.models.recognise import describe, files_in, owner, spoken, wanted
from speech_server.settings import Settings

__all__ = ["SILERO", "Catalog", "ModelInfo"]

SILERO = "silero_vad_v6"  # the file that comes with faster-whisper
_MB = 1_000_000

# openai/whisper-base, OpenVINO/whisper-base-fp16-ov, whisper-large-v3-turbo, distil-whisper/distil-large-v3:
# without the owner and the precision, the name of the weights is left.
_WHISPER_NAME = re.compile(
    r"(?:(?:openai|OpenVINO|distil-whisper)/)?(distil-)?(?:faster-)?(?:whisper-)?([a-z0-9.-]+?)"
    r"(?:-(?:fp32|fp16|bf16|int8|int4))?(?:-(?:ov|ct2))?",
    re.IGNORECASE,
)


class Catalog:
    """`named` are the models of a models file."""

    def __init__(self, settings: Settings, named: Iterable[ModelInfo] = ()) -> None:
        self._cache = open_cache(settings)  # tells which models are installed
        self._data = _read_data()
        whisper = settings.whisper
        self._whisper_args = EngineArgs(
            whisper.inference_device,
            whisper.compute_type,
            whisper.cpu_threads,
            whisper.num_workers,
            extra={
                "max_batch": whisper.max_batch,
                "max_requests": whisper.max_requests,
                "short_windows": whisper.short_windows,
            },
        )
        self._preferred = {"whisper": settings.default_stt_model, "kokoro": settings.default_tts_model}
        self._own_aliases = read_aliases(settings.model_aliases_file)
        self._named = {model.id: model for model in named}
        self._listed = {model.id: self._configured(model) for model in _list_models(self._data)} | self._named

    @property
    def aliases(self) -> Mapping[str, str]:
        """Alias -> the id it means now: the built-in ones and the user's, which win."""
        names = [*self._data["aliases"], "silero_vad_v5", *self._own_aliases]
        return {name: self.resolve(name) for name in names}

    @property
    def default(self) -> tuple[str, ...]:
        """What `models pull --default` installs."""
        return tuple(self._data["default"])

    def resolve(self, name: str) -> str:
        """The id a name means; a name nobody knows is its own id.

        whisper-1 and its like mean DEFAULT_STT_MODEL when that is installed, else the first Whisper of the catalog
        that is (multilingual ones first, the larger first), else DEFAULT_STT_MODEL, to be downloaded.
        tts-1 and its like the same with DEFAULT_TTS_MODEL and Kokoro.
        """
        seen = set()
        while name in self._own_aliases and name not in seen:
            seen.add(name)
            name = self._own_aliases[name]
        if name in self._listed:
            return name
        if family := self._data["aliases"].get(name):
            return self._best_installed(family)
        if name.startswith("silero_vad"):
            return SILERO
        return self._same_weights(name)

    def find(self, model_id: str) -> ModelInfo | None:
        """What is known of a model: from the catalog, from its files where it is installed, or None."""
        listed = self._listed.get(model_id)
        if listed and (listed.url or listed.engine == "silero"):
            return listed
        folder = self._cache.folder(model_id)
        return self._installed(model_id, folder) if folder else listed

    def known(self, task: Task | None = None) -> list[ModelInfo]:
        """Everything that could be installed; answered without a network."""
        return [model for model in self._listed.values() if task in (None, model.task)]

    def named(self) -> list[ModelInfo]:
        """The models file's."""
        return list(self._named.values())

    def _installed(self, model_id: str, folder: Path) -> ModelInfo | None:
        found = describe(model_id, folder, self._languages(yue="large-v3" in model_id))
        if found is None:
            return None
        listed = self._listed.get(model_id)
        if listed is None or listed.engine == "piper":
            found = self._configured(replace(found, licence=listed.licence if listed else found.licence))
        else:
            found = listed
        size = sum((folder / name).stat().st_size for name in wanted(files_in(folder)))
        return replace(found, size_bytes=size, created=int(folder.stat().st_mtime))

    def _configured(self, model: ModelInfo) -> ModelInfo:
        return replace(model, args=self._whisper_args) if model.engine == "whisper" else model

    def _best_installed(self, family: str) -> str:
        preferred = self._preferred[family]
        candidates = [preferred, *(entry["id"] for entry in self._data[family])]
        return next((model_id for model_id in candidates if self._is_installed(model_id)), preferred)

    def _is_installed(self, model_id: str) -> bool:
        try:
            return self._cache.folder(model_id) is not None
        except ModelNotFound:  # a setting that is no id
            return False

    def _same_weights(self, name: str) -> str:
        match = _WHISPER_NAME.fullmatch(name)
        weights = (match[1] or "") + match[2] if match else ""
        return next((entry["id"] for entry in self._data["whisper"] if weights.lower() in entry["sizes"]), name)

    def _languages(self, *, yue: bool) -> tuple[str, ...]:
        return (*self._data["whisper_languages"], *(("yue",) if yue else ()))


@cache
def _read_data() -> Mapping[str, Any]:
    data: Mapping[str, Any] = json.loads(Path(__file__).with_name("catalog.json").read_bytes())
    return data


def _list_models(data: Mapping[str, Any]) -> Iterable[ModelInfo]:
    for entry in data["whisper"]:
        languages = {
            "en": ("en",),
            "all": tuple(data["whisper_languages"]),
            "all+yue": (*data["whisper_languages"], "yue"),
        }[entry["languages"]]
        yield _listed(entry, ModelInfo(entry["id"], "whisper", languages, licence="MIT"))
    voices = tuple(kokoro_voice(name) for name in data["kokoro_voices"])
    for entry in data["kokoro"]:
        yield _listed(entry, ModelInfo(entry["id"], "kokoro", spoken(voices), voices, 24_000, "Apache-2.0"))
    for name in data["piper"]:
        language, voice, quality = name.split("-")
        language = language.replace("_", "-").lower()
        model = ModelInfo(
            f"speaches-ai/piper-{name}",
            "piper",
            (language,),
            (Voice(voice, voice.capitalize(), language),),
            22_050 if quality in ("medium", "high") else 16_000,
        )
        licence = data["piper_licences"].get(name, model.licence)
        size = data["piper_size_mb"][quality]
        yield _listed({"size_mb": size, "created": "2025-01-31"}, replace(model, licence=licence))
    yield ModelInfo(SILERO, "silero", licence="MIT", size_bytes=2 * _MB, owned_by="snakers4")


def _listed(entry: Mapping[str, Any], model: ModelInfo) -> ModelInfo:
    return replace(
        model,
        size_bytes=entry["size_mb"] * _MB,
        created=int(datetime.fromisoformat(entry["created"]).replace(tzinfo=UTC).timestamp()),
        owned_by=owner(model.id),
    )
