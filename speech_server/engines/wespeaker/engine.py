"""WeSpeaker's ResNet34 on ONNX Runtime: what a second and a half of somebody's voice is like, as a vector of length 1.

feats (windows, frames, 80) -> embs (windows, 256). https://huggingface.co/Wespeaker/wespeaker-voxceleb-resnet34-LM
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx_asr.preprocessors.numpy_preprocessor import KaldiPreprocessorNumpy

from speech_server.domain import RATE, Embeddings, Likeness
from speech_server.engines.interfaces import EngineArgs, VoiceSample
from speech_server.engines.onnx import StoppableSession, network_in
from speech_server.engines.queue.embedding import BatchedEncoder, Features

FILE = "voxceleb_resnet34_LM.onnx"
WINDOW = 3 * RATE // 2  # samples: what WeSpeaker's own recipe for VoxConverse looks at
# The distance is what sherpa-onnx joins such voices below unless told otherwise (FastClusteringConfig, 0.5), the second
# in proportion to GE2E's. Nothing was measured here: the weights cannot be had.
LIKENESS = Likeness(apart=0.5, few_apart=0.5)
_FRAME, _HOP = RATE // 40, RATE // 100  # samples of Kaldi's frames
_FRAMES = 1 + (WINDOW - _FRAME) // _HOP
_INT16 = np.float32(32768)  # Kaldi's filter banks have their floor on this scale


class WeSpeaker(BatchedEncoder):
    window = WINDOW
    likeness = LIKENESS

    def __init__(self, model: Path, args: EngineArgs) -> None:
        super().__init__(model, args, name="wespeaker", names=("feats", "embs"))
        self._filter_banks = KaldiPreprocessorNumpy("wespeaker")

    def features(self, voice: VoiceSample) -> Features:
        samples = voice.samples * _INT16
        if len(samples) < WINDOW:  # said again and again it is more like the person than followed by silence
            samples = np.resize(samples, WINDOW)
        banks = self._filter_banks(samples[None], np.array([len(samples)]))[0][0]
        windows = np.stack([banks[start // _HOP : start // _HOP + _FRAMES] for start in voice.starts])
        features: Features = (windows - windows.mean(axis=1, keepdims=True)).astype(np.float32, copy=False)
        return features

    def run(self, session: StoppableSession, features: Features) -> Embeddings:
        vectors = session.run(["embs"], {"feats": features})[0]
        embeddings: Embeddings = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return embeddings


def load(folder: Path, args: EngineArgs) -> WeSpeaker:
    return WeSpeaker(network_in(folder, FILE, "voice encoder"), args)
