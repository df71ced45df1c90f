"""Smart Turn v3 on ONNX Runtime: how likely it is that somebody who has fallen silent has finished.

input_features (turns, 80, 800), Whisper's log-mel of eight seconds that end now -> logits (turns, 1), which are
probabilities already. https://huggingface.co/pipecat-ai/smart-turn-v3
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speech_server.domain import RATE, Samples
from speech_server.engines.cores import core_count
from speech_server.engines.interfaces import EngineArgs
from speech_server.engines.mel import log_mel
from speech_server.engines.onnx import StoppableSession, network_in, open_session, opening, placement_of, require_names
from speech_server.engines.queue.engine import QueuedEngine
from speech_server.engines.queue.fair_queue import Work
from speech_server.engines.queue.turnstile import CORES

FILE = "smart-turn-v3.2-cpu.onnx"  # beside it in the repository: older ones, and float32 for a GPU
WINDOW = 8 * RATE  # samples
BANDS = 80


class SmartTurn(QueuedEngine[Samples, float]):
    """One session, on the CPU whatever there is: the weights are int8, made for it. A turn is one work, and waits for
    no others'."""

    def __init__(self, model: Path, args: EngineArgs) -> None:
        self._session = StoppableSession(open_session(model, args.threads or 1))
        require_names(self._session, model, "input_features", "logits")
        with opening(model):
            self._probability(np.zeros(0, np.float32))  # refused now, if ever; and the first is as quick as the others
        self.memory_bytes = 10 * model.stat().st_size
        workers = args.workers or core_count()
        self.placement = placement_of(self._session, workers=workers, threads=args.threads or 1)
        super().__init__("smart_turn", args, workers=workers, turnstile=CORES)

    def close(self) -> None:
        super().close()
        del self._session

    async def finished(self, samples: Samples) -> float:
        return await self._result(samples)

    def _step(self, batch: list[Work[Samples, float]]) -> None:
        for work in batch:
            work.future.set_result(self._probability(work.payload))

    def _probability(self, samples: Samples) -> float:
        return float(self._session.run(["logits"], {"input_features": features(samples)[None]})[0][0, 0])


def features(samples: Samples) -> NDArray[np.float32]:
    """(BANDS, 800): the last eight seconds, after silence where there are fewer, as transformers'
    WhisperFeatureExtractor makes them with chunk_length=8 and do_normalize."""
    heard = np.zeros(WINDOW, np.float32)
    latest = samples[-WINDOW:]
    heard[WINDOW - len(latest) :] = latest
    heard = (heard - heard.mean()) / np.sqrt(heard.var() + np.float32(1e-7))
    return log_mel(heard, BANDS, WINDOW)


def load(folder: Path, args: EngineArgs) -> SmartTurn:
    return SmartTurn(network_in(folder, FILE, "turn model"), args)
