"""The catalog: which models exist, by which names, and which one an alias means."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

from speech_server.engines.interfaces import EngineArgs
from speech_server.errors import ConfigurationInvalid, ModelBroken, ModelNotFound
from speech_server.models.catalog.aliases import openai_family, read_aliases
from speech_server.models.catalog.arguments import configured_args
from speech_server.models.catalog.ids import is_model_id, require_model_id
from speech_server.models.catalog.info import ModelInfo, Task
from speech_server.models.catalog.listing import SILERO, list_models, read_data
from speech_server.models.catalog.models_file import local_path, only_model, read_named_models
from speech_server.models.disk.cache import open_cache
from speech_server.models.disk.checkpoints import is_made_of
from speech_server.models.disk.recognise import describe, wanted
from speech_server.models.library.inventory import Files, Installed, Inventory
from speech_server.settings import Settings

__all__ = ["SILERO", "Catalog", "ModelInfo"]

# openai/whisper-base, OpenVINO/whisper-base-fp16-ov, whisper-large-v3-turbo, distil-whisper/distil-large-v3:
# without the owner and the precision, the name of the weights is left.
_WHISPER_NAME = re.compile(
    r"(?:(?:openai|OpenVINO|distil-whisper)/)?(distil-)?(?:faster-)?(?:whisper-)?([a-z0-9.-]+?)"
    r"(?:-(?:fp32|fp16|bf16|int8|int4))?(?:-(?:ov|ct2))?",
    re.IGNORECASE,
)

_AUTO = "auto"


class Catalog:
    """What there is, by id and by alias. Raises ConfigurationInvalid for a wrong models or aliases file.

    `listed` is what could be installed, by id; `named` those of it that the models file has; `only` is the id of the
    model that WHISPER__MODEL names, if it names one.
    """

    def __init__(self, settings: Settings) -> None:
        self._cache = open_cache(settings)  # tells which models are installed
        self._data = read_data()
        self._settings = settings
        self._preferred = {
            "whisper": settings.default_stt_model,
            "parakeet": self._data["parakeet"][0]["id"],
            "kokoro": settings.default_tts_model,
            "speakers": settings.default_speaker_model,
            "segmentation": settings.default_segmentation_model,
            "turns": settings.default_turn_model,
        }
        self._own_aliases = read_aliases(settings.model_aliases_file)
        self.named = {model.id: model for model in read_named_models(settings)}
        self.listed = {model.id: self._configured(model) for model in list_models(self._data)} | self.named
        self._inventory = Inventory(self._folders, self._describe)
        self.remembers = False
        self.only = self._choose(settings.whisper.model) if settings.whisper.model else None

    def _choose(self, name: str) -> str:
        """The id of the model that WHISPER__MODEL names; it is known from now on, and what whisper-1 means."""
        if name.startswith(("/", "./", "../")):
            folder = Path(name).absolute()
            if not folder.is_dir():
                raise ConfigurationInvalid(f"WHISPER__MODEL names {folder}, which is no folder")
            model_id, url = folder.name if is_model_id(folder.name) else "local", folder.as_uri()
        else:
            model_id = self.resolve(name.removeprefix("hf://"))
            url = "" if self._is_installed(model_id) or model_id in self.listed else f"hf://{model_id}"
        if url:
            model = only_model(model_id, url, self._settings)
            self.named[model_id] = self.listed[model_id] = model
        self._preferred["whisper"] = model_id
        return model_id

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
        tts-1 and its like the same with DEFAULT_TTS_MODEL and Kokoro, pyannote's names with DEFAULT_SPEAKER_MODEL, or
        with an encoder of the very weights; its segmentation's with DEFAULT_SEGMENTATION_MODEL and Silero, smart-turn
        with DEFAULT_TURN_MODEL and Silero.
        parakeet means the newest that is installed; auto that, where there is one, and else what whisper-1 means.
        """
        name = self._follow(name)
        if name in self.listed:
            return name
        if family := self._data["aliases"].get(name) or openai_family(name):
            same = next((entry["id"] for entry in self._data.get(family, ()) if name in entry.get("of", ())), None)
            return same if same and self._is_installed(same) else self.best_of(family)
        return self._same_weights(name)

    def leaves_choice(self, name: str) -> bool:
        """Whether a name means whichever model suits the request: `auto`, and the user's aliases of it."""
        name = self._follow(name)
        return name not in self.listed and self._data["aliases"].get(name) == _AUTO

    def remember(self) -> None:
        """From now on `find`, `folder` and `resolve` answer from memory: what the last `scan`, or `look`, saw."""
        self.scan()
        self.remembers = True

    def find(self, model_id: str) -> ModelInfo | None:
        """What is known of a model: from the catalog, from its files where it is installed, or None."""
        return self.installed_model(model_id) or self.listed.get(model_id)

    def installed_model(self, model_id: str) -> ModelInfo | None:
        """Like `find`, but None for a model that is not installed."""
        installed = self._installed(model_id)
        return installed.info if installed else None

    def folder(self, model_id: str) -> Path | None:
        """Where an installed model lies; None when it is not installed, or not completely."""
        installed = self._installed(model_id)
        return installed.folder if installed else None

    def look(self, model_id: str) -> Installed | None:
        """An installed model, from the disk. Blocking. Raises ModelNotFound for what is no id."""
        return self._inventory.look(require_model_id(model_id))

    def is_broken(self, model_id: str) -> bool:
        """Whether the last look found files that are no model only because they cannot be read."""
        return self._inventory.is_broken(model_id)

    def scan(self) -> list[ModelInfo]:
        """Every installed model, from the disk: the cache's, the models file's, and Silero. Blocking."""
        ids = [*self._cache.ids(), *self.named, SILERO]
        return [installed.info for installed in self._inventory.scan(ids)]

    def installed(self) -> list[ModelInfo]:
        """Every installed model."""
        return [installed.info for installed in self._inventory.all()] if self.remembers else self.scan()

    def _installed(self, model_id: str) -> Installed | None:
        return self._inventory.get(require_model_id(model_id)) if self.remembers else self.look(model_id)

    def known(self, task: Task | None = None) -> list[ModelInfo]:
        """Everything that could be installed; answered without a network."""
        return [model for model in self.listed.values() if task in (None, model.task)]

    def origin(self, model_id: str) -> str | None:
        """Where a model comes from that no hub has."""
        entries = () if model_id in self.named else (*self._data["speakers"], *self._data["speecht5"])
        return next((entry.get("origin") for entry in entries if entry["id"] == model_id), None)

    def _folders(self, model_id: str) -> Iterable[Path]:
        """Those that may hold a model, whatever brought it there; the one to take first at the head."""
        model = self.listed.get(model_id)
        if model and model.engine == "silero":
            return _silero_folders()
        if model and model.url and model.url.startswith("file://") and not model.files:
            folder = local_path(model.url)
            return [folder, *(made for made in self._cache.snapshots(model_id) if is_made_of(made, folder))]
        return self._cache.snapshots(model.cache_id if model else model_id)

    def _describe(self, model_id: str, folder: Path, files: Files) -> ModelInfo | None:
        """The catalog's words and the files' own facts."""
        listed = self.listed.get(model_id)
        if listed and listed.engine == "silero":
            return listed
        args = listed.args if listed else EngineArgs()
        yue = ("yue",) if "large-v3" in model_id else ()
        found = describe(model_id, folder, (*self._data["whisper_languages"], *yue), files, args)
        if found is None:
            return None
        if args.voices and found.engine != "speecht5":
            raise ModelBroken(f"'{model_id}' is {found.engine}'s: only SpeechT5 takes `voices` of a models file")
        if listed is None:
            model = self._configured(found)
        elif listed.url or listed.engine in ("piper", "speecht5"):  # of these only the files know the voices
            facts = {name: getattr(found, name) for name in ("engine", "languages", "voices", "sample_rate")}
            model = replace(listed, **facts)
        else:
            model = listed
        taken = [files[name] for name in wanted(files)]
        newest = max(file.mtime_ns for file in taken)
        return replace(model, size_bytes=sum(file.size for file in taken), created=newest // 1_000_000_000)

    def _configured(self, model: ModelInfo) -> ModelInfo:
        args = configured_args(model.engine, self._settings)
        return replace(model, args=replace(args, extra={**args.extra, **model.args.extra}))

    def _follow(self, name: str) -> str:
        """The user's aliases, which may lead to each other, but to none of those before."""
        while name in self._own_aliases:
            name = self._own_aliases[name]
        return name

    def best_of(self, family: str) -> str:
        """The model of a family that its alias means now."""
        if family == _AUTO:
            quick = self.best_of("parakeet")
            return quick if self._is_installed(quick) else self.best_of("whisper")
        preferred = self._same_weights(self._preferred[family])
        candidates = [preferred, *(entry["id"] for entry in self._data[family])]
        otherwise = SILERO if family in ("segmentation", "turns") else preferred
        return next((model_id for model_id in candidates if self._is_installed(model_id)), otherwise)

    def _is_installed(self, model_id: str) -> bool:
        try:
            return self.folder(model_id) is not None
        except ModelNotFound:  # a setting that is no id
            return False

    def _same_weights(self, name: str) -> str:
        if name.startswith("silero_vad"):
            return SILERO
        match = _WHISPER_NAME.fullmatch(name)
        weights = ((match[1] or "") + match[2] if match else "").lower()
        exports = (entry["id"] for entry in self._data["speecht5"] if name in entry["of"])
        return next((entry["id"] for entry in self._data["whisper"] if weights in entry["sizes"]), next(exports, name))


@cache
def _silero_folders() -> tuple[Path, ...]:
    found = importlib.util.find_spec("faster_whisper")  # finds, does not import
    assets = (Path(location) / "assets" for location in (found and found.submodule_search_locations) or [])
    return tuple(folder for folder in assets if any(folder.glob("silero_vad_v6*.onnx")))
