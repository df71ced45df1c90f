"""Whisper's vocabulary: read from tokenizer.json, which is made from vocab.json and merges.txt where it is missing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import AliasPath, BaseModel, Field, RootModel

from speech_server.engines.json_file import read_json
from speech_server.models.disk.checkpoints import MERGES, TOKENIZER, VOCABULARY
from speech_server.models.disk.reading import require_text

_LONGEST = 16 << 20  # bytes; large-v3's tokenizer.json has 4 MB, with spaces
_LONGEST_MERGES = 1 << 20  # bytes; large-v3's has 500 kB
_read = partial(read_json, longest=_LONGEST, what="Whisper's tokenizer")
_Id = Annotated[int, Field(ge=0, lt=1_000_000)]


class _Vocabulary(RootModel[dict[str, _Id]]):
    pass


class _AddedToken(BaseModel):
    id: _Id
    content: str


class _Tokenizer(BaseModel):
    """What is read of a tokenizer.json."""

    added_tokens: list[_AddedToken]
    vocabulary: dict[str, _Id] = Field(validation_alias=AliasPath("model", "vocab"))


class _Added(BaseModel):
    content: str


class _Slow(BaseModel):
    """What is read of a tokenizer_config.json."""

    added_tokens_decoder: dict[_Id, _Added] = {}


def write_tokenizer(folder: Path, into: Path) -> Mapping[str, int]:
    """Write tokenizer.json, and return every token with its number. Raises ModelBroken."""
    if (original := folder / TOKENIZER).is_file():
        found = _read(original, _Tokenizer)
        shutil.copyfile(original, into / TOKENIZER)
        return found.vocabulary | {token.content: token.id for token in found.added_tokens}
    vocabulary, added = _read(folder / VOCABULARY, _Vocabulary).root, _added(folder)
    made = _fast(vocabulary, added, require_text(folder / MERGES, _LONGEST_MERGES))
    (into / TOKENIZER).write_text(json.dumps(made, ensure_ascii=False), "utf-8")
    return vocabulary | added


def _fast(vocabulary: Mapping[str, int], added: Mapping[str, int], merges: str) -> dict[str, Any]:
    """What transformers makes of the files of a slow tokenizer: byte-level BPE, and tokens no text is cut into."""
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    pairs = [line.split(" ", 1) for line in merges.splitlines() if line and not line.startswith("#version")]
    return {
        "version": "1.0",
        "added_tokens": [
            {"id": number, "content": content, **flags}
            for number, content in sorted((number, content) for content, number in added.items())
        ],
        "pre_tokenizer": level,
        "decoder": level,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": pairs},
    }


def _added(folder: Path) -> dict[str, int]:
    if (path := folder / "added_tokens.json").is_file():
        return _read(path, _Vocabulary).root
    if (path := folder / "tokenizer_config.json").is_file():
        return {token.content: number for number, token in _read(path, _Slow).added_tokens_decoder.items()}
    return {}
