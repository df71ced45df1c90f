"""model.bin in other precisions, held against what CTranslate2 itself makes of the same weights."""

from __future__ import annotations

import struct
from pathlib import Path

import ctranslate2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from speech_server.engines.whisper.weights import Variable, Weights, read_weights
from speech_server.errors import ModelBroken
from speech_server.models.conversion.weights import numbers, write_weights
from tests.speech_server.models.conftest import real_folder

BASE = "Systran/faster-whisper-base"


@pytest.fixture(scope="module")
def folder() -> Path:
    return real_folder(BASE)


def variable(name: str, values: np.ndarray) -> Variable:
    return Variable(name, values.shape, values.dtype.name, memoryview(np.ascontiguousarray(values)).cast("B"))


def by_name(weights: Weights) -> dict[str, Variable]:
    return {item.name: item for item in weights.variables}


def convert(weights: Weights, precision: str, path: Path) -> dict[str, Variable]:
    write_weights(weights, precision, path)
    return by_name(read_weights(path))


def test_a_model_written_in_its_own_precision_is_the_same_file(folder: Path, tmp_path: Path):
    weights = read_weights(folder / "model.bin")
    assert weights.precision == "float16"
    write_weights(weights, "float16", tmp_path / "model.bin")
    assert (tmp_path / "model.bin").read_bytes() == (folder / "model.bin").read_bytes()


@pytest.mark.parametrize("precision", ["int8_float32", "int8_float16"])
def test_ctranslate2_computes_the_same_from_a_copy_as_from_the_original_at_int8(
    folder: Path, tmp_path: Path, precision: str
):
    copy_but_for_weights(folder, tmp_path)
    write_weights(read_weights(folder / "model.bin"), precision, tmp_path / "model.bin")
    features = np.random.default_rng(0).standard_normal((1, 80, 1000)).astype(np.float32)
    results = []
    for path in (folder, tmp_path):
        model = ctranslate2.models.Whisper(str(path), device="cpu", compute_type="int8", intra_threads=1)
        view = ctranslate2.StorageView.from_array(features)
        (generated,) = model.generate(
            view, [[50258, 50259, 50359, 50363]], beam_size=2, max_length=12, return_scores=True
        )
        results.append((np.array(model.encode(view)).tobytes(), generated.sequences_ids, generated.scores))
    assert results[0] == results[1]


def copy_but_for_weights(folder: Path, into: Path) -> None:
    for path in folder.iterdir():
        if path.name != "model.bin":
            (into / path.name).write_bytes(path.read_bytes())


def test_only_matrices_are_quantised_and_each_gets_a_scale(folder: Path, tmp_path: Path):
    original = read_weights(folder / "model.bin")
    written = convert(original, "int8_float32", tmp_path / "model.bin")
    for name, before in by_name(original).items():
        after = written[name]
        assert after.shape == before.shape
        if name.endswith("weight") and "conv" not in name:
            assert (after.type, written[name + "_scale"].shape) == ("int8", before.shape[:1])
        elif before.type == "float16":
            assert after.type == "float32"
            assert np.array_equal(numbers(after), numbers(before))
        else:
            assert (after.type, bytes(after.data)) == (before.type, bytes(before.data))
    assert read_weights(tmp_path / "model.bin").aliases == original.aliases


def test_a_quantised_model_becomes_floats_again_within_half_a_step(tmp_path: Path):
    values = np.random.default_rng(0).standard_normal((40, 30)).astype(np.float32)
    weights = Weights("WhisperSpec", 3, (variable("layer/weight", values),), ())
    write_weights(weights, "int8", tmp_path / "int8")
    back = convert(read_weights(tmp_path / "int8"), "float32", tmp_path / "float32")
    assert set(back) == {"layer/weight"}
    step = np.abs(values).max(axis=1, keepdims=True) / 127
    assert np.all(np.abs(numbers(back["layer/weight"]) - values) <= step * 0.5001)


def test_scalars_and_integers_are_left_alone(tmp_path: Path):
    kept = (variable("heads", np.array(8, np.int16)), variable("scale_factor", np.array(2.5, np.float32)))
    written = convert(Weights("WhisperSpec", 3, kept, (("a", "heads"),)), "float16", tmp_path / "model.bin")
    assert {name: (item.type, bytes(item.data)) for name, item in written.items()} == {
        item.name: (item.type, bytes(item.data)) for item in kept
    }


def test_a_row_of_zeros_is_quantised_to_zeros(tmp_path: Path):
    values = np.zeros((2, 3), np.float32)
    values[1] = 1e-42  # so small that its scale would overflow
    written = convert(Weights("s", 1, (variable("w/weight", values),), ()), "int8", tmp_path / "model.bin")
    assert np.frombuffer(written["w/weight"].data, np.int8)[:3].tolist() == [0, 0, 0]
    assert np.isfinite(np.frombuffer(written["w/weight_scale"].data, np.float32)).all()


@given(arrays.arrays(np.float32, arrays.array_shapes(min_dims=1, max_dims=3, max_side=8), elements=st.floats(width=32)))
def test_bfloat16_is_the_nearest_with_the_same_upper_bits(values: np.ndarray):
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        weights = Weights("s", 1, (variable("v", values),), ())
        found = numbers(convert(weights, "bfloat16", Path(folder) / "model.bin")["v"])
    assert np.array_equal(np.isnan(found), np.isnan(values))
    usable = np.isfinite(values) & (np.abs(values) < 3.3e38) & (np.abs(values) > 1e-37)
    assert np.all(np.abs(found[usable] - values[usable]) <= np.abs(values[usable]) / 256)


def test_bfloat16_keeps_a_nan_with_all_bits_set(tmp_path: Path):
    values = np.array([0x7FFFFFFF, 0xFFFFFFFF], np.uint32).view(np.float32)
    written = convert(Weights("s", 1, (variable("v", values),), ()), "bfloat16", tmp_path / "model.bin")
    assert np.isnan(numbers(written["v"])).all()


@given(st.binary(max_size=300))
def test_anything_else_is_no_model(content: bytes):
    import tempfile

    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        with pytest.raises(ModelBroken, match="is no CTranslate2 model"):
            read_weights(Path(file.name))


def test_a_model_that_was_cut_off_is_broken(folder: Path, tmp_path: Path):
    content = (folder / "model.bin").read_bytes()
    for length in (0, 10, 1000, len(content) // 2, len(content) - 1):
        (tmp_path / "model.bin").write_bytes(content[:length])
        with pytest.raises(ModelBroken):
            read_weights(tmp_path / "model.bin")


def test_another_version_of_the_format_is_named(tmp_path: Path):
    (tmp_path / "model.bin").write_bytes(struct.pack("<I", 7) + b"\0" * 100)
    with pytest.raises(ModelBroken, match="binary version 7"):
        read_weights(tmp_path / "model.bin")
