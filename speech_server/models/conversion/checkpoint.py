"""Turns a Hugging Face Whisper checkpoint into a CTranslate2 folder: CTranslate2's own converter, without torch.

The converter reads a model's parameters as attributes (`model.decoder.layers[0].fc1.weight`) and accepts numpy
arrays: a tree of such attributes made from the safetensors files stands in for the model.
"""

from __future__ import annotations

import json
import mmap
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from speech_server.errors import ModelBroken
from speech_server.models.conversion.weights import Variable, numbers

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_TYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_LANGUAGE_TOKEN = re.compile(r"<\|[a-z]{2,3}\|>")  # the others are longer, <|transcribe|>
_DECODER_INPUT = "model.decoder.embed_tokens.weight"
_DECODER_OUTPUT = "proj_out.weight"


def is_checkpoint(folder: Path) -> bool:
    return _read_json(folder / "config.json").get("model_type") == "whisper" and any(folder.glob("*.safetensors"))


def convert_checkpoint(folder: Path, into: Path) -> None:
    """Write model.bin (float32), config.json, vocabulary.json and tokenizer.json. Raises ModelBroken."""
    from ctranslate2.converters.transformers import WhisperLoader
    from tokenizers import Tokenizer

    class Loader(WhisperLoader):  # type: ignore[misc]  # the library has no types
        def set_linear(self, spec: Any, module: Any, *_: Any) -> None:  # the original asks transformers for a type
            spec.weight = module.weight
            if hasattr(module, "bias"):
                spec.bias = module.bias

    if not (folder / "tokenizer.json").is_file():
        raise ModelBroken(f"{folder} has no tokenizer.json: save the checkpoint with a fast tokenizer")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    vocabulary = tokenizer.get_vocab()
    names = SimpleNamespace(
        get_vocab=lambda: vocabulary,
        convert_tokens_to_ids=vocabulary.__getitem__,
        additional_special_tokens=sorted(filter(_LANGUAGE_TOKEN.fullmatch, vocabulary), key=vocabulary.__getitem__),
    )
    try:
        spec = Loader()(_model(folder), names)
        spec.validate()
    except (AttributeError, KeyError, ValueError) as error:
        raise ModelBroken(f"{folder} is no complete Whisper checkpoint: {error}") from error
    spec.optimize("float32")
    spec.save(str(into))
    for name in ("tokenizer.json", "preprocessor_config.json"):
        if (folder / name).is_file():
            shutil.copyfile(folder / name, into / name)


def _model(folder: Path) -> SimpleNamespace:
    parameters = dict(_parameters(folder))
    parameters.setdefault(_DECODER_OUTPUT, parameters[_DECODER_INPUT])  # Whisper's output shares its input's weights
    root: dict[str, Any] = {}
    for name, values in parameters.items():
        node = root
        *path, last = name.split(".")
        for step in path:
            node = node.setdefault(step, {})
        node[last] = values
    model: SimpleNamespace = _as_attributes(root)
    model.config = SimpleNamespace(**_read_json(folder / "config.json"))
    model.name_or_path = model.config.__dict__.get("_name_or_path", "")
    if generation := _read_json(folder / "generation_config.json"):
        defaults: dict[str, list[int]] = {"suppress_tokens": [], "begin_suppress_tokens": []}
        model.generation_config = SimpleNamespace(**(defaults | generation))
    return model


def _as_attributes(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    if all(key.isdigit() for key in node):
        return [_as_attributes(node[key]) for key in sorted(node, key=int)]
    return SimpleNamespace(**{key: _as_attributes(child) for key, child in node.items()})


def _parameters(folder: Path) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """The tensors of all safetensors files: eight bytes of header length, a JSON header, the bytes."""
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        try:
            start = 8 + int.from_bytes(content[:8], "little")
            header = json.loads(bytes(content[8:start]))
            for name, entry in header.items():
                if name == "__metadata__":
                    continue
                first, last = entry["data_offsets"]
                data = content[start + first : start + last]
                yield name, numbers(Variable(name, tuple(entry["shape"]), _TYPES[entry["dtype"]], data))
        except (ValueError, KeyError, TypeError) as error:
            raise ModelBroken(f"{path} is no safetensors file of floats: {error}") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
