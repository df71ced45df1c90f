"""Tells from a folder's files which engine its model is for, and whether the folder is complete."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from speech_server.engines.interfaces import Voice
from speech_server.models.info import EngineName, ModelInfo

# What an engine opens. A folder that lacks one of these is a download that was cut off, not a model.
REQUIRED: Mapping[EngineName, tuple[str, ...]] = {
    "whisper": ("model.bin", "config.json", "tokenizer.json", "vocabulary.*"),
    "kokoro": ("model.onnx", "voices.bin"),
    "piper": ("model.onnx", "config.json"),
}
OPTIONAL: Mapping[EngineName, tuple[str, ...]] = {"whisper": ("preprocessor_config.json",)}

_KOKORO_LANGUAGES = {
    "a": "en-us", "b": "en-gb", "e": "es", "f": "fr-fr", "h": "hi", "i": "it", "j": "ja", "p": "pt-br", "z": "zh",
}  # fmt: skip
_GENDERS = {"f": "female", "m": "male"}


def patterns(engine: EngineName) -> tuple[str, ...]:
    """The files to fetch for an engine; what else a repository holds is not needed."""
    return REQUIRED.get(engine, ()) + OPTIONAL.get(engine, ())


def engine_of(names: Iterable[str]) -> EngineName | None:
    """The engine for a folder with these file names; Piper's need a look into config.json as well."""
    present = list(names)
    for engine, required in REQUIRED.items():
        if all(any(fnmatch(name, pattern) for name in present) for pattern in required):
            return engine
    return None


def recognise(folder: Path) -> EngineName | None:
    """The engine of a complete model folder; None for anything else. Broken links count as missing."""
    try:
        engine = engine_of(path.name for path in folder.iterdir() if path.is_file() and path.stat().st_size)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if engine == "piper" and "phoneme_id_map" not in _config(folder):
        return None
    return engine


def describe(model_id: str, folder: Path, whisper_languages: tuple[str, ...]) -> ModelInfo | None:
    """A model nobody listed, from its files alone."""
    engine = recognise(folder)
    if engine == "whisper":
        languages = ("en",) if model_id.endswith(".en") else whisper_languages
        return ModelInfo(model_id, engine, languages, owned_by=owner(model_id))
    if engine == "kokoro":
        voices = kokoro_voices(_voice_names(folder / "voices.bin"))
        return ModelInfo(model_id, engine, spoken(voices), voices, 24_000, "Apache-2.0", owned_by=owner(model_id))
    if engine == "piper":
        voices, rate = piper_voices(folder)
        return ModelInfo(model_id, engine, spoken(voices), voices, rate, owned_by=owner(model_id))
    return None


def owner(model_id: str) -> str:
    return model_id.partition("/")[0] if "/" in model_id else "runpod-speech"


def spoken(voices: tuple[Voice, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(voice.language for voice in voices))


def kokoro_voices(names: Iterable[str]) -> tuple[Voice, ...]:
    """Kokoro names a voice by language, gender and name: af_heart is American, female."""
    return tuple(Voice(name, name, _KOKORO_LANGUAGES.get(name[:1], "en-us"), _GENDERS.get(name[1:2])) for name in names)


def piper_voices(folder: Path) -> tuple[tuple[Voice, ...], int]:
    """A Piper folder's voices and sample rate, from its config.json: one voice, or one per speaker."""
    config = _config(folder)
    code = config.get("language", {}).get("code") or config.get("espeak", {}).get("voice", "en")
    language = str(code).replace("_", "-").lower()
    names = list(config.get("speaker_id_map") or {}) or [str(config.get("dataset") or "default")]
    return tuple(Voice(name, name, language) for name in names), int(config["audio"]["sample_rate"])


def _voice_names(archive: Path) -> list[str]:
    import zipfile  # voices.bin is an .npz: a zip of one .npy per voice

    with zipfile.ZipFile(archive) as members:
        return [name.removesuffix(".npy") for name in members.namelist()]


def _config(folder: Path) -> dict[str, Any]:
    try:
        loaded = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return loaded if isinstance(loaded, dict) else {}
