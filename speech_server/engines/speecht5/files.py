"""The files of a SpeechT5 model, as transformers.js and optimum lay them out: three networks, in one precision."""

from __future__ import annotations

from collections.abc import Container

TOKENIZER = "tokenizer.json"
_NETWORKS = ("encoder_model", "decoder_model_merged", "decoder_postnet_and_vocoder")
# The best first: as trained, then quantised; in a folder of their own on the hub, not where optimum wrote them.
VARIANTS = tuple(
    tuple(f"{place}{network}{precision}.onnx" for network in _NETWORKS)
    for precision in ("", "_quantized")
    for place in ("onnx/", "")
)


def networks_among(names: Container[str]) -> tuple[str, ...] | None:
    """The encoder's, the decoder's and the vocoder's file, of those that are there."""
    return next((files for files in VARIANTS if all(name in names for name in files)), None)
