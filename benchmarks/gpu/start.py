"""python -m benchmarks.gpu.start FOLDER: loads a Whisper on the card, encodes and decodes one window, and ends."""

from __future__ import annotations

import sys

import ctranslate2
import numpy as np

from benchmarks.gpu.steps import prompt


def main(folder: str) -> None:
    model = ctranslate2.models.Whisper(folder, "cuda", compute_type="float16")
    silence = ctranslate2.StorageView.from_array(np.zeros((1, model.n_mels, 3000), np.float32))
    model.generate(model.encode(silence, to_cpu=False), [prompt(timed=False)], beam_size=5)


if __name__ == "__main__":
    main(sys.argv[1])
