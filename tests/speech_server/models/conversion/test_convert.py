"""Converting: a Hugging Face checkpoint and a CTranslate2 folder to every precision.

The checkpoint is Whisper base taken apart: Systran's conversion, undone into Hugging Face's names. Converting it
again has to give Systran's weights, bit by bit.
"""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from speech_server.errors import ModelBroken, ModelNotFound
from speech_server.models.conversion.convert import write_converted
from speech_server.models.conversion.weights import read_weights
from speech_server.models.disk.recognise import recognise
from speech_server.models.library.store import Store, in_silence
from tests.speech_server.models.conftest import real_folder

BASE = "Systran/faster-whisper-base"
LAYERS = 2  # of six, to be quick
FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


@pytest.fixture(scope="module")
def original() -> Path:
    return real_folder(BASE)


def checkpoint_tensors(original: Path) -> dict[str, np.ndarray]:
    """Whisper base under Hugging Face's names, float16."""
    weights = {item.name: item for item in read_weights(original / "model.bin").variables}

    def get(name: str) -> np.ndarray:
        item = weights[name]
        return np.frombuffer(item.data, np.float16).reshape(item.shape)

    tensors = {}
    for side in ("encoder", "decoder"):
        root = f"model.{side}"
        tensors[f"{root}.embed_positions.weight"] = get(f"{side}/position_encodings/encodings")
        put_norm(tensors, f"{root}.layer_norm", get, f"{side}/layer_norm")
        for number in range(LAYERS):
            layer, ours = f"{root}.layers.{number}", f"{side}/layer_{number}"
            put_attention(tensors, f"{layer}.self_attn", get, f"{ours}/self_attention", ("q", "k", "v"))
            if side == "decoder":
                put_attention(tensors, f"{layer}.encoder_attn", get, f"{ours}/attention", ("q",), ("k", "v"))
            for theirs, linear in (("fc1", "linear_0"), ("fc2", "linear_1")):
                tensors[f"{layer}.{theirs}.weight"] = get(f"{ours}/ffn/{linear}/weight")
                tensors[f"{layer}.{theirs}.bias"] = get(f"{ours}/ffn/{linear}/bias")
            put_norm(tensors, f"{layer}.final_layer_norm", get, f"{ours}/ffn/layer_norm")
    for number in (1, 2):
        tensors[f"model.encoder.conv{number}.weight"] = get(f"encoder/conv{number}/weight")
        tensors[f"model.encoder.conv{number}.bias"] = get(f"encoder/conv{number}/bias")
    tensors["model.decoder.embed_tokens.weight"] = get("decoder/embeddings/weight")
    return tensors


def put_norm(tensors, name, get, ours):
    tensors[f"{name}.weight"] = get(f"{ours}/gamma")
    tensors[f"{name}.bias"] = get(f"{ours}/beta")


def put_attention(tensors, name, get, ours, *groups):
    """CTranslate2 joins the projections of one input; Whisper's key projection has no bias."""
    for number, group in enumerate(groups):
        joined, biases = get(f"{ours}/linear_{number}/weight"), get(f"{ours}/linear_{number}/bias")
        parts = zip(group, np.split(joined, len(group)), np.split(biases, len(group)), strict=True)
        for letter, weight, bias in parts:
            tensors[f"{name}.{letter}_proj.weight"] = weight
            if letter != "k":
                tensors[f"{name}.{letter}_proj.bias"] = bias
    tensors[f"{name}.out_proj.weight"] = get(f"{ours}/linear_{len(groups)}/weight")
    tensors[f"{name}.out_proj.bias"] = get(f"{ours}/linear_{len(groups)}/bias")
    put_norm(tensors, f"{name}_layer_norm", get, f"{ours}/layer_norm")


def write_safetensors(path: Path, tensors: dict[str, np.ndarray]) -> None:
    header, offset = {}, 0
    for name, values in tensors.items():
        header[name] = {"dtype": "F16", "shape": list(values.shape), "data_offsets": [offset, offset + values.nbytes]}
        offset += values.nbytes
    encoded = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(encoded)) + encoded)
        for values in tensors.values():
            file.write(np.ascontiguousarray(values).tobytes())


@pytest.fixture(scope="module")
def checkpoint(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In two files, as large checkpoints are."""
    folder = tmp_path_factory.mktemp("checkpoint")
    tensors = checkpoint_tensors(original)
    names = list(tensors)
    write_safetensors(folder / FIRST, {name: tensors[name] for name in names[:30]})
    write_safetensors(folder / SECOND, {name: tensors[name] for name in names[30:]})
    config = {
        "model_type": "whisper", "vocab_size": 51865, "d_model": 512,
        "encoder_layers": LAYERS, "encoder_attention_heads": 8, "decoder_layers": LAYERS, "decoder_attention_heads": 8,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    known = json.loads((original / "config.json").read_text())
    generation = {"suppress_tokens": known["suppress_ids"], "begin_suppress_tokens": known["suppress_ids_begin"]}
    generation["alignment_heads"] = known["alignment_heads"]
    (folder / "generation_config.json").write_text(json.dumps(generation))
    shutil.copy(original / "tokenizer.json", folder)
    (folder / "preprocessor_config.json").write_text('{"feature_size": 80}')
    return folder


def test_a_checkpoint_becomes_the_weights_its_official_conversion_has(checkpoint: Path, original: Path, tmp_path: Path):
    write_converted(checkpoint, "float16", tmp_path, in_silence)
    expected = {item.name: item for item in read_weights(original / "model.bin").variables}
    found = {item.name: item for item in read_weights(tmp_path / "model.bin").variables}
    left_out = tuple(f"{side}/layer_{number}/" for side in ("encoder", "decoder") for number in range(LAYERS, 6))
    assert {name: bytes(item.data) for name, item in found.items() if item.shape} == {
        name: bytes(item.data) for name, item in expected.items() if item.shape and not name.startswith(left_out)
    }
    assert read_weights(tmp_path / "model.bin").aliases == read_weights(original / "model.bin").aliases
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "config.json", "model.bin", "preprocessor_config.json", "tokenizer.json", "vocabulary.json"
    ]  # fmt: skip


def test_a_checkpoint_brings_its_vocabulary_and_languages(checkpoint: Path, original: Path, tmp_path: Path):
    write_converted(checkpoint, "int8", tmp_path, in_silence)
    vocabulary = json.loads((tmp_path / "vocabulary.json").read_text())
    assert vocabulary == (original / "vocabulary.txt").read_text().splitlines()
    known = json.loads((original / "config.json").read_text())
    config = json.loads((tmp_path / "config.json").read_text())
    for name in ("lang_ids", "alignment_heads", "suppress_ids", "suppress_ids_begin"):
        assert config[name] == known[name], name


@pytest.mark.parametrize(
    ("precision", "stored", "megabytes"),
    [("float32", "float32", 290), ("bfloat16", "bfloat16", 145), ("int8", "int8", 75)],
)
def test_a_ctranslate2_folder_becomes_any_precision(
    original: Path, tmp_path: Path, precision: str, stored: str, megabytes: int
):
    write_converted(original, precision, tmp_path, in_silence)
    assert recognise(tmp_path) == "whisper"
    assert read_weights(tmp_path / "model.bin").precision == stored
    assert (tmp_path / "model.bin").stat().st_size // 1_000_000 == megabytes


def test_a_converted_model_is_installed_under_its_name_and_loads(store: Store, original: Path):
    from speech_server.engines.whisper.engine import load

    model = store.add("acme/base-int8", lambda into: write_converted(original, "int8", into, in_silence))
    assert (model.engine, len(model.languages)) == ("whisper", 99)
    folder = store.loadable_folder(model)
    assert folder == store.folder("acme/base-int8")  # int8 as it is
    assert folder is not None
    load(folder, model.args).close()


def test_a_folder_that_is_neither_is_refused(tmp_path: Path):
    with pytest.raises(ModelNotFound, match="neither a Whisper checkpoint"):
        write_converted(tmp_path, "int8", tmp_path / "into", in_silence)


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def garbage(folder: Path) -> None:
    (folder / FIRST).unlink()
    (folder / FIRST).write_bytes(b"x" * 100)


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (without("tokenizer.json"), r"has no tokenizer\.json"),
        (without(SECOND), "is no complete Whisper checkpoint"),
        (without("generation_config.json"), "is no complete Whisper checkpoint"),
        (garbage, "is no safetensors file"),
    ],
)
def test_an_incomplete_checkpoint_says_what_is_wrong(
    checkpoint: Path, tmp_path: Path, damage: Callable[[Path], None], complaint: str
):
    folder, into = tmp_path / "damaged", tmp_path / "into"
    folder.mkdir()
    into.mkdir()
    for path in checkpoint.iterdir():
        (folder / path.name).symlink_to(path)
    damage(folder)
    with pytest.raises(ModelBroken, match=complaint):
        write_converted(folder, "int8", into, in_silence)
