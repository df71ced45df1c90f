"""Tells from a folder's files which engine its model is for, and whether the folder is complete."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints, ValidationError

from speech_server.domain import Voice
from speech_server.engines.device import is_for_cuda
from speech_server.engines.interfaces import EngineArgs
from speech_server.engines.kokoro import files as kokoro
from speech_server.engines.kokoro.voices import usable
from speech_server.engines.parakeet.files import FLOAT, FLOAT_WEIGHTS, INT8, VOCABULARY, languages_of, parse_vocabulary
from speech_server.engines.speecht5 import files as speecht5
from speech_server.engines.speecht5.voices import FOLDER, voices_of
from speech_server.errors import ModelBroken
from speech_server.models.catalog.info import EngineName, ModelInfo, owner, spoken
from speech_server.models.disk.reading import ONNX, files_of, member_names, read_config, require_text
from speech_server.redaction import first_fault

# What the engines open. A folder that lacks one of these is a download that was cut off, not a model.
_LAYOUTS: tuple[tuple[EngineName, tuple[str, ...]], ...] = (
    ("whisper", ("model.bin", "config.json", "tokenizer.json", "vocabulary.*")),
    ("parakeet", (*INT8, VOCABULARY, "config.json")),
    ("parakeet", (*FLOAT, FLOAT_WEIGHTS, VOCABULARY, "config.json")),
    *(("kokoro", files) for files in zip(kokoro.NETWORKS, kokoro.VOICES, strict=True)),
    ("piper", ("model.onnx", "config.json")),
    ("piper", ("*.onnx", "*.onnx.json")),
    *(("speecht5", (*networks, speecht5.TOKENIZER)) for networks in speecht5.VARIANTS),
    ("wespeaker", ("campplus.onnx",)),
    ("wespeaker", ("voxceleb_resnet34_LM.onnx",)),
    ("pyannote", (f"{ONNX}/model.onnx", "preprocessor_config.json")),
    ("smart_turn", ("smart-turn-v3.2-cpu.onnx",)),
)
_OPTIONAL: Mapping[EngineName, tuple[str, ...]] = {
    "kokoro": (kokoro.CONFIG,),
    "whisper": ("preprocessor_config.json",),
    "speecht5": (f"{FOLDER}/*.bin",),
}
# Files of these names are many a model's; a repository that nobody has looked into must say by its name what it is.
_BY_NAME: Mapping[EngineName, str] = {"piper": "piper", "pyannote": "pyannote"}
_LONGEST_VOCABULARY = 1 << 20  # bytes; v3 of Parakeet has 94 kB
_NO_ARGS = EngineArgs()
_Name = Annotated[str, StringConstraints(min_length=1, max_length=100)]


class _Audio(BaseModel):
    sample_rate: int = Field(ge=1_000, le=400_000)


class _NemoConfig(BaseModel):
    """What onnx-asr reads of a NeMo model's configuration, unchecked: with another number it fails, or never ends."""

    model_type: Literal["nemo-conformer-tdt"]
    features_size: int = Field(80, ge=1, le=512, strict=True)
    subsampling_factor: int = Field(8, ge=1, le=64, strict=True)
    max_tokens_per_step: int = Field(10, ge=1, le=100, strict=True)


class _Language(BaseModel):
    code: _Name | None = None


class _Espeak(BaseModel):
    voice: _Name = "en"


class _PiperConfig(BaseModel):
    """What is read of a Piper voice's configuration."""

    audio: _Audio
    language: _Language = _Language()
    espeak: _Espeak = _Espeak()
    dataset: str | None = Field(None, max_length=100)
    speaker_id_map: dict[_Name, int] | None = None


def engine_of(names: Collection[str]) -> EngineName | None:
    """The engine for a folder with these file names; Piper's need a look into the configuration as well."""
    return next((engine for engine, patterns in _LAYOUTS if _covers(names, patterns)), None)


def offered(model_id: str, names: Collection[str]) -> EngineName | None:
    """The engine for a repository with these file names, as far as they tell."""
    engine = engine_of(names)
    return engine if engine and _BY_NAME.get(engine, "") in model_id.lower() else None


def wanted(names: Collection[str]) -> list[str]:
    """The files to take of a repository or folder; no engine opens what else lies there.

    Of a Parakeet in two precisions the one for this machine, or for those that an image or a volume is filled for:
    float32 where the installation is one for GPUs, else int8.
    """
    layouts = [(engine, patterns) for engine, patterns in _LAYOUTS if _covers(names, patterns)]
    if not layouts:
        return []
    engine, patterns = layouts[0]
    if [engine for engine, _ in layouts[:2]] == ["parakeet", "parakeet"] and is_for_cuda():
        patterns = layouts[1][1]
    return [name for name in names if _matches(name, (*patterns, *_OPTIONAL.get(engine, ())))]


def _covers(names: Collection[str], patterns: tuple[str, ...]) -> bool:
    return all(any(_matches(name, (pattern,)) for name in names) for pattern in patterns)


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(name.count("/") == pattern.count("/") and fnmatch(name, pattern) for pattern in patterns)


def recognise(folder: Path) -> EngineName | None:
    """The engine of a complete model folder; None for anything else. Broken links count as missing."""
    try:
        found = describe("", folder, ())
    except ModelBroken:
        return None
    return found.engine if found else None


def files_in(folder: Path) -> list[str]:
    """Names of the files that are there and not empty."""
    return list(files_of(folder))


def describe(
    model_id: str,
    folder: Path,
    whisper_languages: tuple[str, ...],
    names: Collection[str] | None = None,
    args: EngineArgs = _NO_ARGS,
) -> ModelInfo | None:
    """A model, from its files, and from `args` what files do not tell. Raises ModelBroken for one that is complete but
    cannot be read."""
    names = files_in(folder) if names is None else names
    engine = engine_of(names)
    if engine == "whisper":
        languages = ("en",) if model_id.endswith(".en") else whisper_languages
        return ModelInfo(model_id, engine, languages, owned_by=owner(model_id))
    if engine == "parakeet":
        return ModelInfo(model_id, engine, _parakeet_languages(folder), owned_by=owner(model_id))
    if engine == "kokoro":
        voices = usable(_voice_names(folder / (kokoro.among(names, kokoro.VOICES) or "")))
        return ModelInfo(model_id, engine, spoken(voices), voices, 24_000, "Apache-2.0", owned_by=owner(model_id))
    if engine == "piper":
        if (config := _piper_config(folder, names)) is None:
            return None
        voices = _piper_voices(config)
        return ModelInfo(model_id, engine, spoken(voices), voices, config.audio.sample_rate, owned_by=owner(model_id))
    if engine == "speecht5":
        voices = voices_of(args.voices, names, str(args.extra.get("language", "en")))
        return ModelInfo(model_id, engine, spoken(voices), voices, 16_000, owned_by=owner(model_id))
    if engine == "pyannote" and not _is_pyannote(folder):
        return None
    return ModelInfo(model_id, engine, owned_by=owner(model_id)) if engine else None


def _is_pyannote(folder: Path) -> bool:
    content = read_config(folder / "preprocessor_config.json")
    return isinstance(content, Mapping) and content.get("feature_extractor_type") == "PyAnnoteFeatureExtractor"


def _parakeet_languages(folder: Path) -> tuple[str, ...]:
    try:
        _NemoConfig.model_validate(read_config(folder / "config.json"))
    except ValidationError as error:
        raise ModelBroken(
            f"{folder / 'config.json'}: of NeMo's models only nemo-conformer-tdt runs here ({first_fault(error)})"
        ) from error
    text = require_text(folder / VOCABULARY, _LONGEST_VOCABULARY)
    return languages_of(parse_vocabulary(text, folder / VOCABULARY))


def _piper_voices(config: _PiperConfig) -> tuple[Voice, ...]:
    """One voice, or one per speaker."""
    language = (config.language.code or config.espeak.voice).replace("_", "-").lower()
    names = list(config.speaker_id_map or {}) or [config.dataset or "default"]
    return tuple(Voice(name, language) for name in names)


def _voice_names(archive: Path) -> list[str]:
    # voices.bin is an .npz: a zip of one .npy per voice
    names = [name.removesuffix(".npy") for name in member_names(archive)]
    voices = [name for name in names if name.isascii() and name.isidentifier() and len(name) <= 100]
    if not voices:
        raise ModelBroken(f"{archive} holds no voices")
    return voices


def _piper_config(folder: Path, names: Collection[str]) -> _PiperConfig | None:
    """A Piper voice's configuration, by either of its names; None where the ONNX model is something else's."""
    candidates = [name for name in names if name == "config.json" or name.endswith(".onnx.json")]
    for name in sorted(candidates, key=lambda name: (name != "config.json", name))[:2]:
        content = read_config(folder / name)
        if not isinstance(content, Mapping) or "phoneme_id_map" not in content:
            continue
        try:
            return _PiperConfig.model_validate(content)
        except ValidationError as error:
            raise ModelBroken(f"{folder / name} cannot be: {first_fault(error)}") from error
    return None
