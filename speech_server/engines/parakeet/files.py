"""The files of a Parakeet in the layout of onnx-asr's repositories, and which of its precisions to load."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from speech_server.errors import ModelBroken

VOCABULARY = "vocab.txt"
INT8 = ("encoder-model.int8.onnx", "decoder_joint-model.int8.onnx")
FLOAT = ("encoder-model.onnx", "decoder_joint-model.onnx")
# The weights of the encoder are too large for the one file that an ONNX model is.
FLOAT_WEIGHTS = "encoder-model.onnx.data"


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
