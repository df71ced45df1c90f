"""Speeds sound up or slows it down at the same pitch, with FFmpeg's atempo."""

from __future__ import annotations

import numpy as np

from speech_server.domain import Samples

_STEPS = (0.5, 2.0)  # one filter blends the sound within these, and leaves parts of it out above
_FLUSH = 0.1  # seconds of silence that push the last sounds out of the filter


def stretch(samples: Samples, rate: int, tempo: float) -> Samples:
    """`samples` in 1/`tempo` of their time, to the sample; as they are where `tempo` is 1. Blocking."""
    if tempo == 1.0 or not len(samples):
        return samples
    wanted = round(len(samples) / tempo)
    padded = np.zeros(len(samples) + int(_FLUSH * rate * max(1.0, tempo)), np.float32)
    padded[: len(samples)] = samples
    made = np.concatenate([*_filtered(padded, rate, tempo), np.zeros(wanted, np.float32)])
    return made[:wanted]


def _filtered(samples: Samples, rate: int, tempo: float) -> list[Samples]:
    import av  # not while the server starts
    from av.filter import Graph

    graph = Graph()
    nodes = [graph.add_abuffer(format="flt", sample_rate=rate, layout="mono")]
    nodes += [graph.add("atempo", f"{step:.6f}") for step in _steps(tempo)]
    nodes.append(graph.add("abuffersink"))
    graph.link_nodes(*nodes).configure()
    frame = av.AudioFrame.from_ndarray(samples[np.newaxis], format="flt", layout="mono")
    frame.sample_rate = rate
    graph.push(frame)
    graph.push(None)
    made: list[Samples] = []
    while True:
        try:
            made.append(graph.pull().to_ndarray()[0])
        except (av.error.EOFError, av.error.BlockingIOError):
            return made


def _steps(tempo: float) -> list[float]:
    """Factors within what one filter does well, whose product is `tempo`."""
    low, high = _STEPS
    steps = []
    while not low <= tempo <= high:
        step = low if tempo < low else high
        steps.append(step)
        tempo /= step
    return [*steps, tempo]
