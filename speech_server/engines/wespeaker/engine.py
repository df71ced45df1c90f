"""Networks over Kaldi's filter banks on ONNX Runtime, as WeSpeaker exports them: what up to two seconds of somebody's
voice are like, as a vector of length 1. feats (sounds, frames, 80) -> embs (sounds, size).

CAM++ of 3D-Speaker, https://arxiv.org/abs/2303.00332, made by tools/campplus.py, and WeSpeaker's own ResNet34,
https://huggingface.co/Wespeaker/wespeaker-voxceleb-resnet34-LM.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx_asr.preprocessors.numpy_preprocessor import KaldiPreprocessorNumpy

from speech_server.domain import RATE, Embeddings, Likeness, Samples
from speech_server.engines.interfaces import EngineArgs
from speech_server.engines.onnx import StoppableSession, network_in
from speech_server.engines.queue.embedding import BatchedEncoder, Features

WINDOW = 2 * RATE  # samples: what tools/campplus.py makes it for
_GRAIN = RATE // 10  # samples: sounds are of twenty lengths, for those alike are looked at together
_INT16 = np.float32(32768)  # Kaldi's filter banks have their floor on this scale


@dataclass(frozen=True, slots=True)
class Network:
    file: str
    likeness: Likeness


CAMPPLUS = Network("campplus.onnx", Likeness(apart=0.47, few_apart=0.55, few=3.0))
# The distance is what sherpa-onnx joins such voices below unless told otherwise (FastClusteringConfig, 0.5). Nothing
# was measured here: the weights cannot be had.
RESNET34 = Network("voxceleb_resnet34_LM.onnx", Likeness(apart=0.5, few_apart=0.5))


class WeSpeaker(BatchedEncoder):
    window = WINDOW

    def __init__(self, model: Path, network: Network, args: EngineArgs) -> None:
        super().__init__(model, args, name="wespeaker", names=("feats", "embs"))
        self.likeness = network.likeness
        self._filter_banks = KaldiPreprocessorNumpy("wespeaker")

    def features(self, samples: Samples) -> Features:
        # The beginning again is more like the person than silence is.
        filled = np.resize(samples, -(-len(samples) // _GRAIN) * _GRAIN) * _INT16
        banks = self._filter_banks(filled[None], np.array([len(filled)]))[0][0]
        features: Features = (banks - banks.mean(axis=0)).astype(np.float32, copy=False)
        return features

    def run(self, session: StoppableSession, features: NDArray[np.float32]) -> Embeddings:
        vectors = session.run(["embs"], {"feats": features})[0]
        embeddings: Embeddings = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return embeddings


def load(folder: Path, args: EngineArgs) -> WeSpeaker:
    network = RESNET34 if (folder / RESNET34.file).exists() else CAMPPLUS
    return WeSpeaker(network_in(folder, network.file, "voice encoder"), network, args)
