"""Whisper checkpoints as transformers saves them: Whisper base taken apart, and tiny ones of any shape."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from speech_server.engines.whisper.weights import read_weights

Tensors = dict[str, np.ndarray]
Get = Callable[[str], np.ndarray]


def base_checkpoint(original: Path, folder: Path, layers: int = 6, parts: int = 1) -> Path:
    """Systran's conversion of Whisper base, undone; `layers` of its six on each side, in so many files."""
    tensors = base_tensors(original, layers)
    write_parts(folder, tensors, parts)
    config = {
        "model_type": "whisper", "vocab_size": 51865, "d_model": 512,
        "encoder_layers": layers, "encoder_attention_heads": 8,
        "decoder_layers": layers, "decoder_attention_heads": 8,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    known = json.loads((original / "config.json").read_text())
    generation = {"suppress_tokens": known["suppress_ids"], "begin_suppress_tokens": known["suppress_ids_begin"]}
    generation["alignment_heads"] = known["alignment_heads"]
    (folder / "generation_config.json").write_text(json.dumps(generation))
    shutil.copy(original / "tokenizer.json", folder)
    (folder / "preprocessor_config.json").write_text('{"feature_size": 80}')
    return folder


def tiny_checkpoint(
    original: Path, folder: Path, *, mels: int = 80, words: int = 51865, encoder: int = 2, decoder: int = 1
) -> Path:
    """Weights by chance, 64 numbers wide: nothing sensible comes of it, but its shape is any Whisper's."""
    chance = np.random.default_rng(0)
    width = 64

    def some(*shape: int) -> np.ndarray:
        return (chance.standard_normal(shape) / 8).astype(np.float16)

    tensors: Tensors = {"model.decoder.embed_tokens.weight": some(words, width)}
    for side, layers, positions in (("encoder", encoder, 1500), ("decoder", decoder, 448)):
        tensors[f"model.{side}.embed_positions.weight"] = some(positions, width)
        norms = [f"model.{side}.layer_norm"]
        for layer in (f"model.{side}.layers.{number}" for number in range(layers)):
            attentions = ["self_attn", "encoder_attn"] if side == "decoder" else ["self_attn"]
            norms += [f"{layer}.{name}_layer_norm" for name in [*attentions, "final"]]
            shapes = {f"{name}.{part}": (width, width) for name in attentions for part in PROJECTIONS}
            for name, shape in (shapes | {"fc1": (4 * width, width), "fc2": (width, 4 * width)}).items():
                tensors[f"{layer}.{name}.weight"] = some(*shape)
                if not name.endswith("k_proj"):
                    tensors[f"{layer}.{name}.bias"] = some(shape[0])
        for norm in norms:
            tensors |= {f"{norm}.weight": some(width), f"{norm}.bias": some(width)}
    for number, channels in ((1, mels), (2, width)):
        tensors[f"model.encoder.conv{number}.weight"] = some(width, channels, 3)
        tensors[f"model.encoder.conv{number}.bias"] = some(width)
    write_parts(folder, tensors, 1)
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    counts = {"vocab_size": words, "encoder_layers": encoder, "decoder_layers": decoder, "num_mel_bins": mels}
    (folder / "config.json").write_text(json.dumps({"model_type": "whisper", **counts, **heads}))
    shutil.copy(original / "tokenizer.json", folder)
    if words < 51865:
        english_tokenizer(folder / "tokenizer.json")
    return folder


PROJECTIONS = ("q_proj", "k_proj", "v_proj", "out_proj")


def english_tokenizer(path: Path) -> None:
    """An English Whisper's tokens are one fewer before the special ones: the library tells it by that."""
    fast = json.loads(path.read_text())
    words = fast["model"]["vocab"]
    del words[""]
    fast["model"]["vocab"] = {word: number - (number > 50256) for word, number in words.items()}
    for token in fast["added_tokens"]:
        token["id"] -= 1
    path.write_text(json.dumps(fast))


def slow_tokenizer(folder: Path) -> None:
    """The files that fine-tunes have which were saved with transformers' own tokenizer, in place of tokenizer.json."""
    fast = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").write_text(json.dumps(fast["model"]["vocab"]))
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in fast["model"]["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")
    added = {token["content"]: token["id"] for token in fast["added_tokens"]}
    (folder / "added_tokens.json").write_text(json.dumps(added))


def write_parts(folder: Path, tensors: Tensors, parts: int) -> None:
    names = list(tensors)
    each = -(-len(names) // parts)
    for number in range(parts):
        name = "model.safetensors" if parts == 1 else f"model-{number + 1:05}-of-{parts:05}.safetensors"
        write_safetensors(folder / name, {name: tensors[name] for name in names[number * each :][:each]})


def base_tensors(original: Path, layers: int) -> Tensors:
    """Whisper base under Hugging Face's names, float16."""
    weights = {item.name: item for item in read_weights(original / "model.bin").variables}

    def get(name: str) -> np.ndarray:
        item = weights[name]
        return np.frombuffer(item.data, np.float16).reshape(item.shape)

    tensors: Tensors = {}
    for side in ("encoder", "decoder"):
        root = f"model.{side}"
        tensors[f"{root}.embed_positions.weight"] = get(f"{side}/position_encodings/encodings")
        put_norm(tensors, f"{root}.layer_norm", get, f"{side}/layer_norm")
        for number in range(layers):
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


def put_norm(tensors: Tensors, name: str, get: Get, ours: str) -> None:
    tensors[f"{name}.weight"] = get(f"{ours}/gamma")
    tensors[f"{name}.bias"] = get(f"{ours}/beta")


def put_attention(tensors: Tensors, name: str, get: Get, ours: str, *groups: Sequence[str]) -> None:
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


DTYPES = {"float16": "F16", "float32": "F32", "uint16": "BF16"}  # numpy has no bfloat16: its bits


def write_safetensors(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    header, offset = {}, 0
    for name, values in tensors.items():
        kind, end = DTYPES[values.dtype.name], offset + values.nbytes
        header[name] = {"dtype": kind, "shape": list(values.shape), "data_offsets": [offset, end]}
        offset = end
    encoded = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(encoded)) + encoded)
        for values in tensors.values():
            file.write(np.ascontiguousarray(values).tobytes())
