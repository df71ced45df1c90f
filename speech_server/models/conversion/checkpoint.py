"""Turns a Hugging Face Whisper checkpoint into a CTranslate2 folder: CTranslate2's own converter, without torch.

The converter reads a model's parameters as attributes (`model.decoder.layers[0].fc1.weight`) and accepts numpy
arrays: a tree of such attributes made from the safetensors files stands in for the model.
"""

from __future__ import annotations

import hashlib
import re
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field

from speech_server.engines.json_file import read_json
from speech_server.engines.whisper.weights import Variable, Weights
from speech_server.errors import ModelBroken
from speech_server.models.conversion.safetensors import read_tensors
from speech_server.models.conversion.tokenizer import write_tokenizer
from speech_server.models.conversion.weights import Precision, write_weights
from speech_server.models.disk.checkpoints import CONFIG, weight_files
from speech_server.models.disk.reading import LONGEST_CONFIG
from speech_server.models.disk.recognise import files_in

_GENERATION = "generation_config.json"
_LANGUAGE_TOKEN = re.compile(r"<\|[a-z]{2,3}\|>")  # the others are longer, <|transcribe|>
_DECODER_INPUT = "model.decoder.embed_tokens.weight"
_DECODER_OUTPUT = "proj_out.weight"

_Layers = Annotated[int, Field(ge=1, le=256)]
_Tokens = Annotated[list[int], BeforeValidator(lambda value: [] if value is None else value)]


class _Config(BaseModel):
    """What is read of a config.json: numbers that may not be any, for the converter makes as many layers and words."""

    encoder_layers: _Layers
    encoder_attention_heads: _Layers
    decoder_layers: _Layers
    decoder_attention_heads: _Layers
    vocab_size: int = Field(ge=1, le=1_000_000)
    suppress_tokens: _Tokens = []
    begin_suppress_tokens: _Tokens = []
    name_or_path: str = Field("", alias="_name_or_path")


class _Generation(BaseModel):
    """What is read of a generation_config.json."""

    suppress_tokens: _Tokens = []
    begin_suppress_tokens: _Tokens = []
    alignment_heads: list[tuple[int, int]] | None = None
    lang_to_id: dict[str, int] | None = None


def convert_checkpoint(folder: Path, precision: Precision, into: Path) -> None:
    """Write model.bin, config.json, vocabulary.json and tokenizer.json. Raises ModelBroken.

    One variable at a time is turned into the precision and written: what is in memory are views into the files, and
    the attentions' joined projections.
    """
    from ctranslate2.converters.transformers import WhisperLoader

    class Loader(WhisperLoader):  # type: ignore[misc]  # the library has no types
        def set_linear(self, spec: Any, module: Any, *_: Any) -> None:  # the original asks transformers for a type
            spec.weight = module.weight
            if hasattr(module, "bias"):
                spec.bias = module.bias

    vocabulary = write_tokenizer(folder, into)
    names = SimpleNamespace(
        get_vocab=lambda: vocabulary,
        convert_tokens_to_ids=vocabulary.__getitem__,
        additional_special_tokens=sorted(filter(_LANGUAGE_TOKEN.fullmatch, vocabulary), key=vocabulary.__getitem__),
    )
    try:
        spec = Loader()(_model(folder), names)
        spec.validate()
        weights = _weights(spec)
    except (AttributeError, KeyError, IndexError, TypeError, ValueError, RecursionError) as error:
        raise ModelBroken(f"{folder} is no complete Whisper checkpoint: {error}") from error
    spec._serialize = lambda path: None  # the library has no way to save only the rest: config.json, vocabulary.json
    spec.save(str(into))
    write_weights(weights, precision, into / "model.bin")


def _weights(spec: Any) -> Weights:
    """The converter's variables; of equal ones the first in the alphabet stays, and the others are its aliases."""
    import numpy as np

    variables: list[Variable] = []
    aliases: list[tuple[str, str]] = []
    first: dict[tuple[Any, ...], str] = {}
    for name, variable in spec.variables(ordered=True):
        array = variable.numpy()
        content = np.ascontiguousarray(array).data.cast("B")
        type_ = "bfloat16" if array.dtype.name == "uint16" else array.dtype.name
        key = (type_, array.shape, hashlib.sha256(content).digest())
        if array.shape and key in first:
            aliases.append((name, first[key]))
            continue
        first[key] = name
        variables.append(Variable(name, tuple(array.shape), type_, content))
    return Weights(spec.name, spec.revision, tuple(variables), tuple(aliases))


def _model(folder: Path) -> SimpleNamespace:
    names = weight_files(files_in(folder))
    parameters = read_tensors([folder / name for name in names])
    parameters.setdefault(_DECODER_OUTPUT, parameters[_DECODER_INPUT])  # Whisper's output shares its input's weights
    root: dict[str, Any] = {}
    for name, values in parameters.items():
        node = root
        *path, last = name.split(".")
        for step in path:
            node = node.setdefault(step, {})
        node[last] = values
    model: SimpleNamespace = _as_attributes(root)
    read = partial(read_json, longest=LONGEST_CONFIG, what="Whisper's configuration")
    model.config = read(folder / CONFIG, _Config)
    model.name_or_path = model.config.name_or_path
    if (folder / _GENERATION).is_file():
        given = read(folder / _GENERATION, _Generation).model_dump(exclude_none=True)
        model.generation_config = SimpleNamespace(**given)  # the converter asks whether it has this and that
    return model


def _as_attributes(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    if all(key.isdigit() for key in node):
        return [_as_attributes(node[key]) for key in sorted(node, key=int)]
    return SimpleNamespace(**{key: _as_attributes(child) for key, child in node.items()})
