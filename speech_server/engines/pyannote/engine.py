"""pyannote segmentation-3.0 on ONNX Runtime: who of up to three people speaks when in ten seconds, also at once.

input_values (windows, 1, samples) -> logits (windows, frames, 7): nobody, each of three, each pair of them (Plaquet and
Bredin 2023, https://arxiv.org/abs/2310.13025). https://huggingface.co/onnx-community/pyannote-segmentation-3.0
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Hashable
from pathlib import Path

import numpy as np

from speech_server.domain import RATE, Activity, Samples
from speech_server.engines.interfaces import EngineArgs
from speech_server.engines.onnx import network_in
from speech_server.engines.queue.fair_queue import Work
from speech_server.engines.queue.session import QueuedSession

FILE = "onnx/model.onnx"
WINDOW = 10 * RATE  # samples, what it was trained on
STEP, FIELD = 270, 991  # samples from one frame to the next, and that a frame is made of
_POWER_SET = np.array(
    [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1]],
    bool,
)
_AT_ONCE = 4  # windows


class PyannoteSegmenter(QueuedSession[Samples, Activity]):
    window = WINDOW
    step = STEP
    middle = FIELD // 2

    def __init__(self, model: Path, args: EngineArgs) -> None:
        names = ("input_values", "logits")
        super().__init__(model, args, name="pyannote", max_batch=_AT_ONCE, max_cost=_AT_ONCE, names=names)

    def segment(self, windows: AsyncIterator[Samples]) -> AsyncGenerator[Activity, None]:
        return self._results(_works(windows))

    def _step(self, batch: list[Work[Samples, Activity]]) -> None:
        together = np.stack([work.payload for work in batch])[:, None]
        logits = self._session.run(["logits"], {"input_values": together})[0]
        for work, activity in zip(batch, _POWER_SET[logits.argmax(axis=2)], strict=True):
            work.future.set_result(activity)


async def _works(windows: AsyncIterator[Samples]) -> AsyncIterator[tuple[Samples, float, Hashable]]:
    async for window in windows:
        yield window, 1.0, None


def load(folder: Path, args: EngineArgs) -> PyannoteSegmenter:
    return PyannoteSegmenter(network_in(folder, FILE, "segmentation model"), args)
