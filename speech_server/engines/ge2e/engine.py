"""GE2E on ONNX Runtime: what a second and a half of somebody's voice is like, as a vector of length 1."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from speech_server.domain import Embeddings, Likeness
from speech_server.engines.interfaces import EngineArgs, VoiceSample
from speech_server.engines.mel import HOP, mel_frames
from speech_server.engines.onnx import StoppableSession, network_in
from speech_server.engines.queue.embedding import BatchedEncoder, Features

WINDOW = 160 * HOP  # samples, 1.6 s: what it was trained on
BANDS = 40
FILE = "ge2e.onnx"
LIKENESS = Likeness(apart=0.26, few_apart=0.26)  # how they were chosen: docs/speakers.md
_LOUDNESS = 10 ** (-30 / 20)  # what is quieter is raised to it, as in training


class Ge2e(BatchedEncoder):
    window = WINDOW
    likeness = LIKENESS

    def features(self, voice: VoiceSample) -> Features:
        samples = voice.samples
        level = float(np.sqrt(np.square(samples).mean())) if len(samples) else 0.0
        if 0 < level < _LOUDNESS:
            samples = samples * (_LOUDNESS / level)
        if len(samples) < WINDOW:  # said again and again it is more like the person than followed by silence
            samples = np.resize(samples, WINDOW)
        mel = mel_frames(samples, BANDS, "constant")
        frames = WINDOW // HOP
        return np.stack([mel[start // HOP : start // HOP + frames] for start in voice.starts])

    def run(self, session: StoppableSession, features: Features) -> Embeddings:
        embeddings: Embeddings = session.run(None, {"mels": features})[0]
        return embeddings


def load(folder: Path, args: EngineArgs) -> Ge2e:
    return Ge2e(network_in(folder, FILE, "voice encoder"), args, name="ge2e")
