"""What Whisper takes of memory while it works, from the model's dimensions: arithmetic.

Let T = 1,500 be the positions of a 30 s window after the encoder, d the width, h = d / 64 the heads, L the decoder's
layers, V the words, B the beams, S the steps, and w the bytes of a number that is worked with. The shapes are those of
CTranslate2 4: src/layers/attention.cc keeps keys and values, src/layers/transformer.cc those of the sound once for all
beams (TransformerDecoder::replicate_state), src/decoding.cc the scores of all words for every beam.

 - A worker encodes one window at a time: w (2 h T^2 + 8 T d), the attention before and after its softmax, and a
   layer's states with the feed-forward's, four times as wide. Base on a CPU: 169 MB, of which 138 were seen.
 - A window in a decoder's batch: w (2 L d (T + 2 B S) + 2 T d + 3 B V). Keys and values of the sound; those of the
   text, twice, for each step writes them anew, one longer, where what the last one left is too small; the encoder's
   output, given and joined; the words' scores, their logarithms and what is chosen from. Base on a CPU, 224 tokens of
   text: 102 MB at beam 5, of which 99 to 107 were seen in batches of 1 to 8; at beam 1 55 MB, seen 55 to 57.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from speech_server.engines.whisper.weights import read_weights
from speech_server.engines.workspace import Need
from speech_server.errors import ModelBroken

POSITIONS = 1500
# The most text CTranslate2 lets a window have (half of max_length), and the marks before it. A prompt may double it:
# that is rare, and a batch that finds no memory is done in smaller ones.
STEPS = 224 + 4
_HEAD = 64
_LAYER = re.compile(r"decoder/layer_(\d+)/")


@dataclass(frozen=True, slots=True)
class Dimensions:
    width: int
    layers: int  # of the decoder
    words: int


LARGEST = Dimensions(width=1280, layers=32, words=51_866)  # large-v3


def read_dimensions(path: Path) -> Dimensions:
    """Of a model.bin; the largest there are where it is of a format that only CTranslate2 reads."""
    try:
        variables = read_weights(path).variables
    except ModelBroken:
        return LARGEST
    shapes = {variable.name: variable.shape for variable in variables}
    layers = {found[1] for name in shapes if (found := _LAYER.match(name))}
    words, width = shapes.get("decoder/embeddings/weight", (LARGEST.words, LARGEST.width))
    return Dimensions(width, len(layers) or LARGEST.layers, words)


def keys_and_values(layers: int, width: int, positions: int, size: int) -> int:
    """Bytes of so many positions in all layers of a decoder."""
    return 2 * layers * width * positions * size


def need(model: Dimensions, beams: int, compute_type: str, steps: int = STEPS) -> Need:
    """`compute_type` is CTranslate2's own word for what a loaded model works with: int8_float16."""
    size = 4 if compute_type in ("float32", "int8", "int16") or compute_type.endswith("_float32") else 2
    states = POSITIONS * model.width
    encoding = 2 * (model.width // _HEAD) * POSITIONS**2 + 8 * states
    cached = keys_and_values(model.layers, model.width, POSITIONS + 2 * beams * steps, size)
    return Need(worker=size * encoding, work=cached + size * (2 * states + 3 * beams * model.words))
