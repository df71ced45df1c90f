"""The files of a Kokoro: its network, its voices, and for some its own vocabulary; named as here or as kokoro-onnx
releases them (kokoro-v1.1-zh.onnx, voices-v1.1-zh.bin; config.json lies with the PyTorch weights)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, StringConstraints

from speech_server.engines.json_file import read_json

NETWORKS = ("model.onnx", "kokoro-v*.onnx")
VOICES = ("voices.bin", "voices-v*.bin")
CONFIG = "config.json"
_LONGEST = 1 << 20  # bytes; v1.1-zh's has 4 kB
_Phoneme = Annotated[str, StringConstraints(min_length=1, max_length=1)]
_Number = Annotated[int, Field(ge=0, lt=100_000)]


class _KokoroConfig(BaseModel):
    """What is read of a Kokoro's config.json; other programs' may lack it."""

    vocab: dict[_Phoneme, _Number] | None = Field(None, min_length=1)


def among(names: Iterable[str], patterns: tuple[str, ...]) -> str | None:
    """The file of those names that is meant."""
    there = sorted(names)
    return next((name for pattern in patterns for name in there if fnmatch(name, pattern)), None)


def read_vocabulary(folder: Path) -> Mapping[str, int] | None:
    """Phonemes and their numbers, of a model that brings its own. Raises ModelBroken."""
    file = folder / CONFIG
    return read_json(file, _KokoroConfig, _LONGEST, "Kokoro's configuration").vocab if file.exists() else None
