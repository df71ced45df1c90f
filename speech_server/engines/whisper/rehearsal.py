"""Tries out each shape of a request's work on a card, before somebody waits for it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np

from speech_server.domain import RATE, SpeechChunk
from speech_server.engines.whisper.decode import Decoder
from speech_server.engines.whisper.job import Job, Request
from speech_server.errors import GpuUnavailable

log = logging.getLogger(__name__)


def rehearse(decoder: Decoder, request: Request, windows: Sequence[int], *, replicas: int, batch: int) -> Iterator[str]:
    """Silence in each window size: alone in every replica of the model, which have handles and kernels of their own,
    and as many together as a batch may have. Raises GpuUnavailable.

    A batch that the card has no room for is only told of: what comes is split. Anything else fails the smaller works,
    too, which are therefore tried again.
    """
    for window in windows:
        seconds = window // RATE
        with _computing():
            job = Job(request, SpeechChunk(np.zeros(window, np.float32), 0.0), True, window)
            with ThreadPoolExecutor(replicas, thread_name_prefix="rehearsal") as threads:
                list(threads.map(decoder.encode, [job] * replicas))
                list(threads.map(decoder.decode, [[job]] * replicas))
        yield f"a window of {seconds} s alone"
        with _computing():
            try:
                decoder.decode([job] * batch)
            except RuntimeError as error:
                log.warning("%d windows of %d s cannot be decoded together here: %s", batch, seconds, error)
                decoder.decode([job])
        yield f"{batch} windows of {seconds} s"


@contextmanager
def _computing() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # CTranslate2's, for all that a card or its libraries refuse
        raise GpuUnavailable(
            f"the model is in the card's memory, and cannot compute there: {error}. WHISPER__INFERENCE_DEVICE=cpu runs "
            "it on the CPU"
        ) from error
