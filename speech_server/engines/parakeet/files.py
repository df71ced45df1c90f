"""The files of a Parakeet in the layout of onnx-asr's repositories: which of its precisions to load, its tokens, and
what their number tells of the languages it knows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from speech_server.errors import ModelBroken

VOCABULARY = "vocab.txt"
INT8 = ("encoder-model.int8.onnx", "decoder_joint-model.int8.onnx")
FLOAT = ("encoder-model.onnx", "decoder_joint-model.onnx")
# The weights of the encoder are too large for the one file that an ONNX model is.
FLOAT_WEIGHTS = "encoder-model.onnx.data"
# What NVIDIA trained v3 on.
EUROPEAN = (
    "bg", "cs", "da", "de", "el", "en", "es", "et", "fi", "fr", "hr", "hu", "it", "lt", "lv", "mt", "nl", "pl", "pt",
    "ro", "ru", "sk", "sl", "sv", "uk",
)  # fmt: skip
ENGLISH = ("en",)
_ONE_LANGUAGE = 4_096  # tokens at most: v2 has 1025, v3 has 8193
_BLANK = "<blk>"


def choose_precision(folder: Path, *, gpu: bool, only_gpu: bool) -> Literal["int8", "float32"]:
    """int8 on a CPU, float32 on a GPU, which has no kernels for the int8 operations; else the one there is.

    `only_gpu`: nothing else will do. Raises ModelBroken where what is needed is not there.
    """
    has_int8, has_float = (all((folder / name).is_file() for name in names) for names in (INT8, FLOAT))
    if only_gpu and not has_float:
        raise ModelBroken(f"no {FLOAT[0]} in {folder}, and int8 runs on a CPU only: pull the model beside a GPU")
    if gpu and has_float:
        return "float32"
    if not has_int8 and not has_float:
        raise ModelBroken(f"no {INT8[0]} in {folder}, or no decoder beside it: pull the model again")
    return "int8" if has_int8 else "float32"


def languages_of(tokens: Sequence[str]) -> tuple[str, ...]:
    """Nothing else in a model's files says it."""
    return ENGLISH if len(tokens) <= _ONE_LANGUAGE else EUROPEAN


def parse_vocabulary(text: str, source: Path) -> tuple[str, ...]:
    """The tokens by their number, of lines `token number`; a word begins with a space. Raises ModelBroken."""
    tokens = []
    for number, line in enumerate(text.splitlines()):
        token, space, given = line.partition(" ")
        if not token or not space or given != str(number):
            raise ModelBroken(f"{source} is no vocabulary: line {number + 1} should be a token and {number}")
        tokens.append(token.replace("\N{LOWER ONE EIGHTH BLOCK}", " "))
    if _BLANK not in tokens:
        raise ModelBroken(f"{source} is no vocabulary of a transducer: it has no {_BLANK}")
    return tuple(tokens)
