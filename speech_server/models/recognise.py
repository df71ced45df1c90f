"""Tells from a folder's files which engine its model is for, and whether the folder is complete."""

from __future__ import annotations

import json
from collections.abc import Collection
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from speech_server.engines.interfaces import Voice
from speech_server.engines.kokoro_voices import usable
from speech_server.models.info import EngineName, ModelInfo

# What the engines open. A folder that lacks one of these is a download that was cut off, not a model.
_LAYOUTS: tuple[tuple[EngineName, tuple[str, ...]], ...] = (
    ("whisper", ("model.bin", "config.json", "tokenizer.json", "vocabulary.*")),
    ("kokoro", ("model.onnx", "voices.bin")),
    ("piper", ("model.onnx", "config.json")),
    ("piper", ("*.onnx", "*.onnx.json")),
)
_OPTIONAL = ("preprocessor_config.json",)


def engine_of(names: Collection[str]) -> EngineName | None:
    """The engine for a folder with these file names; Piper's need a look into the configuration as well."""
    return next((engine for engine, patterns in _LAYOUTS if _covers(names, patterns)), None)


def wanted(names: Collection[str]) -> list[str]:
    """The files to take of a repository or folder; no engine opens what else lies there."""
    patterns = next((patterns for _, patterns in _LAYOUTS if _covers(names, patterns)), ())
    return [name for name in names if patterns and _matches(name, (*patterns, *_OPTIONAL))]


def _covers(names: Collection[str], patterns: tuple[str, ...]) -> bool:
    return all(any(_matches(name, (pattern,)) for name in names) for pattern in patterns)


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return "/" not in name and any(fnmatch(name, pattern) for pattern in patterns)


def recognise(folder: Path) -> EngineName | None:
    """The engine of a complete model folder; None for anything else. Broken links count as missing."""
    engine = engine_of(files_in(folder))
    if engine == "piper" and "phoneme_id_map" not in _config(folder):
        return None
    return engine


def files_in(folder: Path) -> list[str]:
    """Names of the files that are there and not empty."""
    try:
        return [path.name for path in folder.iterdir() if path.is_file() and path.stat().st_size]
    except (FileNotFoundError, NotADirectoryError):
        return []


def describe(model_id: str, folder: Path, whisper_languages: tuple[str, ...]) -> ModelInfo | None:
    """A model nobody listed, from its files alone."""
    engine = recognise(folder)
    if engine == "whisper":
        languages = ("en",) if model_id.endswith(".en") else whisper_languages
        return ModelInfo(model_id, engine, languages, owned_by=owner(model_id))
    if engine == "kokoro":
        voices = usable(_voice_names(folder / "voices.bin"))
        return ModelInfo(model_id, engine, spoken(voices), voices, 24_000, "Apache-2.0", owned_by=owner(model_id))
    if engine == "piper":
        voices, rate = piper_voices(folder)
        return ModelInfo(model_id, engine, spoken(voices), voices, rate, owned_by=owner(model_id))
    return None


def owner(model_id: str) -> str:
    return model_id.partition("/")[0] if "/" in model_id else "runpod-speech"


def spoken(voices: tuple[Voice, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(voice.language for voice in voices))


def piper_voices(folder: Path) -> tuple[tuple[Voice, ...], int]:
    """A Piper folder's voices and sample rate, from its config.json: one voice, or one per speaker."""
    config = _config(folder)
    code = config.get("language", {}).get("code") or config.get("espeak", {}).get("voice", "en")
    language = str(code).replace("_", "-").lower()
    names = list(config.get("speaker_id_map") or {}) or [str(config.get("dataset") or "default")]
    return tuple(Voice(name, language) for name in names), int(config["audio"]["sample_rate"])


def _voice_names(archive: Path) -> list[str]:
    import zipfile  # voices.bin is an .npz: a zip of one .npy per voice

    with zipfile.ZipFile(archive) as members:
        return [name.removesuffix(".npy") for name in members.namelist()]


def _config(folder: Path) -> dict[str, Any]:
    """A Piper voice's configuration, by either of its names."""
    for path in (folder / "config.json", *folder.glob("*.onnx.json")):
        try:
            loaded = json.loads(path.read_bytes())
        except (OSError, ValueError):
            continue
        if isinstance(loaded, dict):
            return loaded
    return {}
