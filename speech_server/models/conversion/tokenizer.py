"""Whisper's vocabulary: read from tokenizer.json, which is made from vocab.json and merges.txt where it is missing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from speech_server.errors import ModelBroken
from speech_server.models.disk.checkpoints import MERGES, TOKENIZER, VOCABULARY
from speech_server.redaction import first_fault

_LONGEST = 16 << 20  # bytes; large-v3's tokenizer.json has 4 MB, with spaces
_Id = Annotated[int, Field(ge=0, lt=1_000_000)]
_Vocabulary = dict[str, _Id]


class _AddedToken(BaseModel):
    id: _Id
    content: str


class _Model(BaseModel):
    vocab: _Vocabulary


class _Tokenizer(BaseModel):
    """What is read of a tokenizer.json."""

    added_tokens: list[_AddedToken]
    model: _Model


class _Added(BaseModel):
    content: str


class _Slow(BaseModel):
    """What is read of a tokenizer_config.json."""

    added_tokens_decoder: dict[_Id, _Added] = {}


_Read = TypeVar("_Read")
_TOKENIZER, _SLOW, _IDS = TypeAdapter(_Tokenizer), TypeAdapter(_Slow), TypeAdapter(_Vocabulary)


def write_tokenizer(folder: Path, into: Path) -> Mapping[str, int]:
    """Write tokenizer.json, and return every token with its number. Raises ModelBroken."""
    if (folder / TOKENIZER).is_file():
        text = _text(folder / TOKENIZER)
    else:
        text = json.dumps(_fast(folder), ensure_ascii=False)
    (into / TOKENIZER).write_text(text, "utf-8")
    found = _parsed(_TOKENIZER, text, folder / TOKENIZER)
    return found.model.vocab | {token.content: token.id for token in found.added_tokens}


def _fast(folder: Path) -> dict[str, Any]:
    """What transformers makes of the files of a slow tokenizer: byte-level BPE, and tokens no text is cut into."""
    vocabulary = _parsed(_IDS, _text(folder / VOCABULARY), folder / VOCABULARY)
    merges = [line for line in _text(folder / MERGES).splitlines() if line and not line.startswith("#version")]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    added = sorted((number, content) for content, number in _added(folder).items())
    return {
        "version": "1.0",
        "added_tokens": [{"id": number, "content": content, **flags} for number, content in added],
        "pre_tokenizer": level,
        "decoder": level,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": [line.split(" ", 1) for line in merges]},
    }


def _added(folder: Path) -> Mapping[str, int]:
    if (path := folder / "added_tokens.json").is_file():
        return _parsed(_IDS, _text(path), path)
    if (path := folder / "tokenizer_config.json").is_file():
        found = _parsed(_SLOW, _text(path), path).added_tokens_decoder
        return {token.content: number for number, token in found.items()}
    return {}


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _LONGEST:
            raise ModelBroken(f"{path} is larger than {_LONGEST >> 20} MiB: no Whisper has so many words")
        return path.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise ModelBroken(f"{path} cannot be read: {error}") from error


def _parsed(kind: TypeAdapter[_Read], text: str, path: Path) -> _Read:
    try:
        return kind.validate_json(text)
    except ValidationError as error:
        raise ModelBroken(f"{path} is no tokenizer's: {first_fault(error)}") from error
