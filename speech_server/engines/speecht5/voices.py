"""SpeechT5's voices: each is a speaker's vector in a file of its own, 512 numbers in float32."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from speech_server.domain import Voice
from speech_server.errors import ModelBroken

if TYPE_CHECKING:  # numpy takes 0.2 s to import, and listing voices needs only their names
    from speech_server.domain import Embeddings

FOLDER = "voices"  # beside the networks: NAME.bin
SIZE = 512
BYTES = 4 * SIZE
_LONGEST_NAME = 100  # characters

# The speakers of CMU ARCTIC, whose vectors transformers.js's users know: name -> gender, file in ARCTIC_DATASET.
ARCTIC_DATASET = "Xenova/cmu-arctic-xvectors-extracted"
ARCTIC: Mapping[str, tuple[str, str]] = {
    "slt": ("female", "cmu_us_slt_arctic-wav-arctic_a0001.bin"),
    "clb": ("female", "cmu_us_clb_arctic-wav-arctic_a0001.bin"),
    "bdl": ("male", "cmu_us_bdl_arctic-wav-arctic_a0003.bin"),
    "rms": ("male", "cmu_us_rms_arctic-wav-arctic_a0003.bin"),
    "jmk": ("male", "cmu_us_jmk_arctic-wav-arctic_a0003.bin"),
    "awb": ("male", "cmu_us_awb_arctic-wav-arctic_b0002.bin"),
    "ksp": ("male", "cmu_us_ksp_arctic-wav-arctic_a0007.bin"),
}


def voices_of(own: Iterable[str], files: Iterable[str], language: str) -> tuple[Voice, ...]:
    """The voices a models file names, then those among a folder's `files`; the first is the default."""
    there = voice_files(files)
    names = dict.fromkeys([*own, *(name for name in ARCTIC if name in there), *sorted(there)])
    return tuple(Voice(name, language, ARCTIC[name][0] if name in ARCTIC else None) for name in names)


def voice_files(files: Iterable[str]) -> dict[str, str]:
    """Name of a voice -> the file with its vector, of those in the voices' folder. A name that cannot be written, or
    is none, is left out: lists of models and voices hold it."""
    paths = [path for path in map(PurePosixPath, files) if str(path.parent) == FOLDER and path.suffix == ".bin"]
    return {path.stem: str(path) for path in paths if path.stem.isprintable() and len(path.stem) <= _LONGEST_NAME}


def read_vector(name: str, file: Path) -> Embeddings:
    """(1, 512), as the decoder takes it. Raises ModelBroken for anything but 512 finite numbers in float32."""
    import numpy as np

    try:
        with file.open("rb") as opened:
            content = opened.read(BYTES + 1)
    except OSError as error:
        raise ModelBroken(f"voice '{name}': {file} cannot be read ({error.strerror})") from error
    if len(content) != BYTES:
        found = f"{len(content)} bytes" if len(content) < BYTES else f"more than {BYTES} bytes"
        raise ModelBroken(f"voice '{name}': {file} has {found}, a vector of {SIZE} float32 has {BYTES}")
    vector = np.frombuffer(content, "<f4").astype(np.float32)
    if not np.isfinite(vector).all() or not vector.any():
        raise ModelBroken(f"voice '{name}': {file} holds no speaker: its numbers must be finite and not all zero")
    return vector[np.newaxis]
