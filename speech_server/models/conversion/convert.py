"""A Whisper model in the precision one wants, from a Hugging Face checkpoint or a CTranslate2 folder."""

from __future__ import annotations

import shutil
from pathlib import Path

from speech_server.engines.whisper.weights import read_weights
from speech_server.errors import ModelNotFound
from speech_server.models.conversion.checkpoint import convert_checkpoint
from speech_server.models.conversion.weights import Precision, write_weights
from speech_server.models.disk.checkpoints import NEEDED, is_checkpoint
from speech_server.models.disk.recognise import files_in, recognise, wanted

_PREPROCESSOR = "preprocessor_config.json"


def write_converted(source: Path, precision: Precision, into: Path) -> None:
    """Write a complete CTranslate2 Whisper folder. Raises ModelNotFound for a source that is none, ModelBroken."""
    if is_checkpoint(source):
        convert_checkpoint(source, precision, into)
        if _PREPROCESSOR in files_in(source):
            shutil.copyfile(source / _PREPROCESSOR, into / _PREPROCESSOR)
    elif recognise(source) == "whisper":
        write_in_precision(source, precision, into)
    else:
        raise ModelNotFound(
            f"{source} is neither a Whisper checkpoint ({NEEDED}) nor a CTranslate2 Whisper folder (model.bin, "
            "config.json, tokenizer.json, vocabulary.*)"
        )


def write_in_precision(source: Path, precision: Precision, into: Path) -> None:
    """A CTranslate2 Whisper folder once more, its weights in that precision. Raises ModelBroken."""
    for name in set(wanted(files_in(source))) - {"model.bin"}:
        shutil.copyfile(source / name, into / name)
    write_weights(read_weights(source / "model.bin"), precision, into / "model.bin")
