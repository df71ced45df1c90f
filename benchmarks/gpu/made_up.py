"""Writes a Whisper of any shape with weights by chance, which says the same words in every window.

Its speed is the real one's: layers, words, and the tokens of a window are as many. What it says is put into it: the
decoder's positions are far larger than all that the layers add to them, and the output's rows for the words to say
point where the positions do. So it ends where it should, is sure of itself, and no check of the engine finds fault.
"""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.gpu.shapes import POSITIONS, PROMPT, TOKENS, Shape

Make = Callable[[], NDArray[np.float32]]
END = 50_257  # token that ends the text; the special ones follow
FIRST_WORD = 1_000  # token of the first word that is said
_SPREAD = 0.02  # of weights
_LOUDER = 8.0  # positions than what the layers add
_SURE = 40.0  # logit of the word to say
_LETTERS = "bcdfghjklmnpqrst"


def write_model(shape: Shape, folder: Path) -> Path:
    """A CTranslate2 folder at float16 in `folder`, complete or not there; one that is there already is kept."""
    from speech_server.models.conversion.checkpoint import convert_checkpoint

    into = folder / shape.name
    if into.exists():
        return into
    source, part = folder / f"{shape.name}.checkpoint", folder / f"{shape.name}.part"
    for path in (source, part):
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
    _write_checkpoint(shape, source)
    convert_checkpoint(source, "float16", part)
    (part / "preprocessor_config.json").write_text(json.dumps({"feature_size": shape.mels}))
    shutil.rmtree(source)
    part.rename(into)
    return into


def _write_checkpoint(shape: Shape, folder: Path) -> None:
    heads = {"encoder_attention_heads": shape.heads, "decoder_attention_heads": shape.heads}
    layers = {"encoder_layers": shape.encoder, "decoder_layers": shape.decoder}
    config = {"model_type": "whisper", "vocab_size": shape.words, "num_mel_bins": shape.mels, **layers, **heads}
    (folder / "config.json").write_text(json.dumps(config))
    aligned = [(shape.decoder - 1, head) for head in range(min(6, shape.heads))]  # turbo has six
    (folder / "generation_config.json").write_text(json.dumps({"alignment_heads": aligned}))
    (folder / "tokenizer.json").write_text(json.dumps(_tokenizer(shape.words)), "utf-8")
    _write_tensors(folder / "model.safetensors", dict(_tensors(shape)))


def _write_tensors(path: Path, tensors: dict[str, tuple[tuple[int, ...], Make]]) -> None:
    """Safetensors, one tensor in memory at a time."""
    header, offset = {}, 0
    for name, (shape, _) in tensors.items():
        end = offset + 2 * int(np.prod(shape))
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [offset, end]}
        offset = end
    encoded = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(encoded)) + encoded)
        for _, make in tensors.values():
            file.write(make().astype(np.float16).tobytes())


def _tensors(shape: Shape) -> Iterator[tuple[str, tuple[tuple[int, ...], Make]]]:
    """Hugging Face's names, their shapes, and what makes them."""
    chance = np.random.default_rng(0)
    width = shape.width
    said = chance.standard_normal((POSITIONS, width), np.float32)
    said[PROMPT - 1 + TOKENS :] = said[-1]  # the end, from then on

    def some(*size: int) -> tuple[tuple[int, ...], Make]:
        return size, lambda: chance.standard_normal(size, np.float32) * np.float32(_SPREAD)

    def output() -> NDArray[np.float32]:
        rows = chance.standard_normal((shape.words, width), np.float32) * np.float32(_SPREAD)
        rows[FIRST_WORD : FIRST_WORD + TOKENS] = said[PROMPT - 1 : PROMPT - 1 + TOKENS] * (_SURE / width)
        rows[END] = said[-1] * (_SURE / width)
        return rows

    yield "model.decoder.embed_tokens.weight", some(shape.words, width)
    yield "model.decoder.embed_positions.weight", (said.shape, lambda: said * np.float32(_LOUDER))
    yield "proj_out.weight", ((shape.words, width), output)
    yield "model.encoder.embed_positions.weight", some(1500, width)
    for number, channels in ((1, shape.mels), (2, width)):
        yield f"model.encoder.conv{number}.weight", some(width, channels, 3)
        yield f"model.encoder.conv{number}.bias", some(width)
    for side, layers in (("encoder", shape.encoder), ("decoder", shape.decoder)):
        yield from _norm(f"model.{side}.layer_norm", width)
        for layer in range(layers):
            yield from _layer(f"model.{side}.layers.{layer}", side == "decoder", width, some)


def _layer(
    layer: str, decodes: bool, width: int, some: Callable[..., tuple[tuple[int, ...], Make]]
) -> Iterator[tuple[str, tuple[tuple[int, ...], Make]]]:
    for attention in ("self_attn", "encoder_attn") if decodes else ("self_attn",):
        yield from _norm(f"{layer}.{attention}_layer_norm", width)
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield f"{layer}.{attention}.{part}.weight", some(width, width)
            if part != "k_proj":
                yield f"{layer}.{attention}.{part}.bias", some(width)
    yield from _norm(f"{layer}.final_layer_norm", width)
    for name, rows, columns in (("fc1", 4 * width, width), ("fc2", width, 4 * width)):
        yield f"{layer}.{name}.weight", some(rows, columns)
        yield f"{layer}.{name}.bias", some(rows)


def _norm(name: str, width: int) -> Iterator[tuple[str, tuple[tuple[int, ...], Make]]]:
    yield f"{name}.weight", ((width,), lambda: np.ones(width, np.float32))
    yield f"{name}.bias", ((width,), lambda: np.zeros(width, np.float32))


def _tokenizer(words: int) -> dict[str, Any]:
    """Bytes, invented words, and Whisper's special tokens in their order."""
    from faster_whisper.tokenizer import _LANGUAGE_CODES
    from tokenizers.pre_tokenizers import ByteLevel

    known = sorted(ByteLevel.alphabet())
    known += ["Ġ" + _word(number) for number in range(len(known), END - 1)]
    known.append("")  # by which CTranslate2 tells a Whisper of many languages
    names = ["endoftext", "startoftranscript", *_LANGUAGE_CODES, "translate", "transcribe"]
    names += ["startoflm", "startofprev", "nospeech", "notimestamps"]
    names += [f"{step * 0.02:.2f}" for step in range(words - END - len(names))]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "added_tokens": [{"id": END + at, "content": f"<|{name}|>", **flags} for at, name in enumerate(names)],
        "pre_tokenizer": level,
        "decoder": level,
        "model": {"type": "BPE", "vocab": {word: at for at, word in enumerate(known)}, "merges": []},
    }


def _word(number: int) -> str:
    """A word of its own for each number, scattered so that neighbours share no beginning."""
    scattered = number * 40_503 % 65_536
    return "".join(_LETTERS[scattered >> shift & 15] for shift in (0, 4, 8, 12))
