"""Speakers' vectors: which files are voices, and what such a file must hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from speech_server.engines.speecht5.voices import read_vector, voices_of
from speech_server.errors import ModelBroken

GOOD = np.linspace(-1, 1, 512, dtype="<f4")


def names(*files: str, own: tuple[str, ...] = ()) -> list[str]:
    return [voice.id for voice in voices_of(own, files, "en")]


def test_voices_are_the_vectors_in_their_folder_the_known_ones_first():
    files = (
        "pytorch_model.bin",
        "voices/zoe.bin",
        "voices/bdl.bin",
        "voices/slt.bin",
        "voices/readme.txt",
        "voices/.bin",
    )
    assert names(*files) == ["slt", "bdl", "zoe"]


def test_a_models_files_own_come_before_and_each_name_once():
    assert names("voices/slt.bin", "voices/anna.bin", own=("me", "anna")) == ["me", "anna", "slt"]


def test_a_vector_is_read_as_the_decoder_takes_it(tmp_path: Path):
    (tmp_path / "v.bin").write_bytes(GOOD.tobytes())
    vector = read_vector("v", tmp_path / "v.bin")
    assert (vector.shape, vector.dtype) == ((1, 512), np.float32)
    np.testing.assert_array_equal(vector[0], GOOD)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "has 0 bytes, a vector of 512 float32 has 2048"),
        (GOOD.tobytes()[:-1], "has 2047 bytes"),
        (GOOD.astype("<f8").tobytes(), "has more than 2048 bytes"),
        (np.full(512, np.nan, "<f4").tobytes(), "must be finite and not all zero"),
        (np.array([np.inf, *[0.0] * 511], "<f4").tobytes(), "must be finite and not all zero"),
        (bytes(2048), "must be finite and not all zero"),
    ],
)
def test_anything_else_is_refused_by_its_name(tmp_path: Path, content: bytes, complaint: str):
    file = tmp_path / "anna.bin"
    file.write_bytes(content)
    with pytest.raises(ModelBroken) as broken:
        read_vector("anna", file)
    assert broken.value.message.startswith(f"voice 'anna': {file} ")
    assert complaint in broken.value.message


@pytest.mark.parametrize("name", ["nowhere.bin", "."])
def test_what_is_no_file_is_refused(tmp_path: Path, name: str):
    with pytest.raises(ModelBroken, match=r"voice 'anna': .* cannot be read"):
        read_vector("anna", tmp_path / name)
