"""Converting: a Hugging Face checkpoint and a CTranslate2 folder to every precision.

The checkpoint is Whisper base taken apart: Systran's conversion, undone into Hugging Face's names. Converting it
again has to give Systran's weights, bit by bit.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from speech_server.engines.interfaces import EngineArgs
from speech_server.engines.whisper.weights import read_weights
from speech_server.errors import ModelBroken, ModelNotFound
from speech_server.models.conversion.convert import write_converted
from speech_server.models.conversion.safetensors import read_tensors
from speech_server.models.disk.recognise import recognise
from speech_server.models.library.store import Store
from tests.speech_server.models.checkpoints import base_checkpoint, slow_tokenizer, tiny_checkpoint, write_safetensors
from tests.speech_server.models.conftest import real_folder

BASE = "Systran/faster-whisper-base"
LAYERS = 2  # of six, to be quick
FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


@pytest.fixture(scope="module")
def original() -> Path:
    return real_folder(BASE)


@pytest.fixture(scope="module")
def checkpoint(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In two files, as large checkpoints are."""
    return base_checkpoint(original, tmp_path_factory.mktemp("checkpoint"), LAYERS, parts=2)


def test_a_checkpoint_becomes_the_weights_its_official_conversion_has(checkpoint: Path, original: Path, tmp_path: Path):
    write_converted(checkpoint, "float16", tmp_path)
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
    write_converted(checkpoint, "int8", tmp_path)
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
    write_converted(original, precision, tmp_path)
    assert recognise(tmp_path) == "whisper"
    assert read_weights(tmp_path / "model.bin").precision == stored
    assert (tmp_path / "model.bin").stat().st_size // 1_000_000 == megabytes


def test_a_converted_model_is_installed_under_its_name_and_loads(store: Store, original: Path):
    from speech_server.engines.whisper.engine import load

    model = store.add("acme/base-int8", lambda into: write_converted(original, "int8", into))
    assert (model.engine, len(model.languages)) == ("whisper", 99)
    folder = store.loadable_folder(model)
    assert folder == store.folder("acme/base-int8")  # int8 as it is
    assert folder is not None
    load(folder, model.args).close()


def test_a_folder_that_is_neither_is_refused(tmp_path: Path):
    with pytest.raises(ModelNotFound, match="neither a Whisper checkpoint"):
        write_converted(tmp_path, "int8", tmp_path / "into")


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def garbage(folder: Path) -> None:
    (folder / FIRST).unlink()
    (folder / FIRST).write_bytes(b"x" * 100)


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (without("tokenizer.json"), "neither a Whisper checkpoint"),
        (without(SECOND), "neither a Whisper checkpoint"),
        (garbage, "is no safetensors file"),
    ],
)
def test_an_incomplete_checkpoint_says_what_is_wrong(
    checkpoint: Path, tmp_path: Path, damage: Callable[[Path], None], complaint: str
):
    folder = copied(checkpoint, tmp_path)
    damage(folder)
    with pytest.raises((ModelBroken, ModelNotFound), match=complaint):
        converted(folder)


def test_a_checkpoint_that_says_nothing_of_generating_gets_the_converters_defaults(
    original: Path, checkpoint: Path, tmp_path: Path
):
    folder = copied(checkpoint, tmp_path)
    (folder / "generation_config.json").unlink()
    config = json.loads((converted(folder) / "config.json").read_text())
    assert (config["suppress_ids"], config["suppress_ids_begin"]) == ([], [])
    assert config["alignment_heads"] == [[1, head] for head in range(8)]  # of the last half of the layers


def test_a_tokenizer_of_the_older_kind_becomes_the_same_tokenizer(original: Path, checkpoint: Path, tmp_path: Path):
    from tokenizers import Tokenizer

    folder = copied(checkpoint, tmp_path)
    slow_tokenizer(folder)
    expected = Tokenizer.from_file(str(original / "tokenizer.json"))
    found = Tokenizer.from_file(str(converted(folder) / "tokenizer.json"))
    assert found.get_vocab() == expected.get_vocab()
    for text in ("Hello there, it's 12:30.", " ¿Qué es? 速い茶色の狐  ", "<|startoftranscript|><|en|> a\n\nb"):
        numbers = expected.encode(text, add_special_tokens=False).ids
        assert found.encode(text, add_special_tokens=False).ids == numbers
        assert found.decode(numbers) == expected.decode(numbers)


def test_bfloat16_stays_as_it_is_and_beside_other_floats_is_one_of_them(original: Path, tmp_path: Path):
    folder = tiny_checkpoint(original, tmp_path)
    tensors = read_tensors([folder / "model.safetensors"])
    rounded = {name: (values.astype(np.float32).view(np.uint32) >> 16) for name, values in tensors.items()}
    halves = {name: bits.astype(np.uint16) for name, bits in rounded.items()}
    widened = {name: (bits << 16).view(np.float32) for name, bits in rounded.items()}
    write_safetensors(folder / "model.safetensors", halves)
    write_converted(folder, "bfloat16", made(tmp_path / "pure"))
    name = next(name for name in halves if name.endswith("fc1.bias"))
    mixed = {name: widened[name], **{other: bits for other, bits in halves.items() if other != name}}
    write_safetensors(folder / "model.safetensors", mixed)
    write_converted(folder, "bfloat16", made(tmp_path / "mixed"))
    pure = read_weights(tmp_path / "pure" / "model.bin")
    kept = {bytes(values.tobytes()) for values in halves.values()}
    assert {bytes(item.data) for item in pure.variables if item.name.endswith("linear_0/bias")} & kept
    assert (tmp_path / "pure" / "model.bin").read_bytes() == (tmp_path / "mixed" / "model.bin").read_bytes()


@pytest.mark.parametrize(
    ("shape", "multilingual"),
    [
        pytest.param({"mels": 128, "words": 51866}, True, id="large-v3"),
        pytest.param({"words": 51864}, False, id="English only"),
        pytest.param({"encoder": 4, "decoder": 1}, True, id="distilled"),
    ],
)
def test_every_kind_of_whisper_is_loaded_by_the_engine(
    original: Path, tmp_path: Path, shape: dict[str, int], multilingual: bool
):
    from speech_server.engines.whisper.engine import load

    folder = converted(tiny_checkpoint(original, tmp_path, **shape))
    engine = load(folder, EngineArgs(device="cpu", workers=1))
    try:
        model = engine._library.model
        assert (model.n_mels, model.is_multilingual) == (shape.get("mels", 80), multilingual)
        assert ("de" in engine.languages) == multilingual
    finally:
        engine.close()


def test_weights_of_another_precision_beside_it_are_left_alone(original: Path, tmp_path: Path):
    folder = tiny_checkpoint(original, tmp_path)
    (folder / "model.fp32-00001-of-00002.safetensors").write_bytes(b"not even read")
    (folder / "adapter_model.safetensors").write_bytes(b"not even read")
    assert recognise(converted(folder)) == "whisper"


def rewritten(name: str, **values: object) -> Callable[[Path], None]:
    def rewrite(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(content | values))

    return rewrite


def header(**tensors: object) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        text = json.dumps(tensors).encode()
        (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + bytes(100))

    return write


def entry(shape: list[int], first: int = 0, last: int = 100, dtype: str = "F16") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [first, last]}


def bias_of(*shape: int) -> Callable[[Path], None]:
    """One tensor of another shape than all others suggest."""

    def write(folder: Path) -> None:
        file = folder / "model.safetensors"
        tensors = {name: values.copy() for name, values in read_tensors([file]).items()}
        write_safetensors(file, tensors | {"model.encoder.conv1.bias": np.zeros(shape, np.float16)})

    return write


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (rewritten("config.json", encoder_layers=10**9), "config.json cannot be: encoder_layers"),
        (rewritten("config.json", vocab_size=10**10), "config.json cannot be: vocab_size"),
        (rewritten("config.json", vocab_size=60_000), "is no complete Whisper checkpoint"),
        (rewritten("config.json", model_type="bert"), "neither a Whisper checkpoint"),
        (rewritten("tokenizer.json", model={"vocab": {"a": -1}}), "tokenizer.json cannot be: model.vocab.a"),
        (header(**{"model.decoder.embed_tokens.weight": entry([10**6])}), "is not as long as its shape says"),
        (header(**{"model.decoder.embed_tokens.weight": entry([50], 0, 10**12)}), "is no complete Whisper checkpoint"),
        (header(x=entry([50], dtype="I64")), "is no safetensors file of floats"),
        (header(**{"x" + ".x" * 5000: entry([50])}), "is no safetensors file of floats"),
        (header(**{"x" + ".x" * 240: entry([50])}), "is no complete Whisper checkpoint"),
        (bias_of(0, 64), "is no complete Whisper checkpoint"),
        (header(**{"x": entry([50]), "x.y": entry([50])}), "is no complete Whisper checkpoint"),
    ],
)
def test_what_a_stranger_may_have_written_is_refused_in_words(
    original: Path, tmp_path: Path, damage: Callable[[Path], None], complaint: str
):
    folder = tiny_checkpoint(original, tmp_path)
    damage(folder)
    with pytest.raises((ModelBroken, ModelNotFound), match=complaint):
        converted(folder)


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def copied(checkpoint: Path, tmp_path: Path) -> Path:
    folder = made(tmp_path / "copy")
    for path in checkpoint.iterdir():
        (folder / path.name).symlink_to(path)
    return folder


def converted(folder: Path) -> Path:
    into = made(folder / "converted")
    write_converted(folder, "float16", into)
    return into
