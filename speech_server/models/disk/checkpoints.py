"""Tells Whisper checkpoints, as Hugging Face's transformers saves them, by their files: these have to be converted."""

from __future__ import annotations

import re
from collections.abc import Collection
from itertools import takewhile
from pathlib import Path

from speech_server.errors import ModelBroken, ModelNotFound
from speech_server.models.disk.reading import files_of, read_config, read_text
from speech_server.models.disk.recognise import files_in

CONFIG = "config.json"
TOKENIZER = "tokenizer.json"
VOCABULARY, MERGES = "vocab.json", "merges.txt"  # what older fine-tunes have in its place
_WHOLE = "model.safetensors"
_SHARD = re.compile(r"model-(\d{5})-of-(\d{5})\.safetensors")
_OPTIONAL = ("generation_config.json", "preprocessor_config.json")
SOURCE = "converted_from.txt"  # beside a model that was made of a folder: of which, and how its files were
RUNNABLE = "a CTranslate2 Whisper, a Whisper checkpoint, a Parakeet, Kokoro, Piper or SpeechT5 in ONNX is needed"
NEEDED = "config.json, model.safetensors or all its parts, and tokenizer.json or vocab.json with merges.txt"


def checkpoint_files(names: Collection[str]) -> list[str]:
    """The files to take of a folder or repository with a checkpoint, the configuration first; none when it has none."""
    weights, tokenizer = weight_files(names), _tokenizer_files(names)
    if not weights or not tokenizer or CONFIG not in names:
        return []
    return [CONFIG, *(name for name in _OPTIONAL if name in names), *tokenizer, *weights]


def weight_files(names: Collection[str]) -> list[str]:
    """The files that hold one whole set of weights, in their order. A repository may have others beside it, such as
    model.fp32-00001-of-00002.safetensors."""
    if _WHOLE in names:
        return [_WHOLE]
    there = frozenset(names)
    for count in sorted({found[2] for name in there if (found := _SHARD.fullmatch(name))}):
        parts = (f"model-{number:05}-of-{count}.safetensors" for number in range(1, int(count) + 1))
        found_parts = list(takewhile(there.__contains__, parts))  # a name may claim any number of others
        if found_parts and len(found_parts) == int(count):
            return found_parts
    return []


def _tokenizer_files(names: Collection[str]) -> list[str]:
    if TOKENIZER in names:
        return [TOKENIZER]
    if VOCABULARY not in names or MERGES not in names:
        return []
    return [VOCABULARY, MERGES, *(name for name in ("added_tokens.json", "tokenizer_config.json") if name in names)]


def is_checkpoint(folder: Path) -> bool:
    try:
        require_whisper(folder)
    except (ModelBroken, ModelNotFound):
        return False
    return bool(checkpoint_files(files_in(folder)))


def require_whisper(folder: Path, name: str = "") -> None:
    """Raises ModelNotFound for a checkpoint of another network, ModelBroken."""
    config = read_config(folder / CONFIG)
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind != "whisper":
        raise ModelNotFound(
            f"'{name or folder}' is no Whisper: {CONFIG} says model_type {str(kind)[:50]}", param="model"
        )


def state_of(folder: Path) -> str:
    """What changes when a checkpoint in a folder does, or is another one."""
    files = files_of(folder)
    lines = [f"{name} {files[name].size} {files[name].mtime_ns}" for name in sorted(checkpoint_files(files))]
    return "\n".join([str(folder), *lines, ""])


def is_made_of(model: Path, folder: Path) -> bool:
    """Whether a converted model is that of the checkpoint which is in the folder now."""
    try:
        return read_text(model / SOURCE, 1 << 20) == state_of(folder)
    except (OSError, ValueError):
        return False
