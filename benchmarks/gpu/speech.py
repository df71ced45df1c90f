"""Section C: Kokoro's graph where lengths alternate and where they are grouped; threads and sessions; search modes."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.gpu.bench import Bench
from benchmarks.installed import installed

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

KOKORO = "speaches-ai/Kokoro-82M-v1.0-ONNX"
_RATE = 24_000
_CUDA = "CUDAExecutionProvider"
_GROUPED = "grouped; 63 ms alternating and 10 grouped were reported of an RTX 4090"


def run(bench: Bench) -> None:
    if not bench.cuda and not bench.tiny:
        bench.report.skip("section C", "CTranslate2 finds no CUDA card here: --tiny runs it on a CPU")
        return
    folder = installed(KOKORO)
    if folder is None:
        bench.report.skip("section C", f"{KOKORO} is not installed: `make models` brings it")
        return
    model = next(iter(sorted(folder.glob("*.onnx"))))
    with bench.figure("Kokoro: session"):
        _modes(bench, model)
        _sessions(bench, model)


def _open(bench: Bench, model: Path, options: Mapping[str, str] = {}) -> InferenceSession:
    from speech_server.engines.interfaces import EngineArgs
    from speech_server.engines.onnx import open_session

    return open_session(model, 1, EngineArgs("cuda" if bench.cuda else "cpu", provider_options={_CUDA: options}))


def _inputs(session: InferenceSession, length: int) -> dict[str, Any]:
    """Phonemes by chance: the graph's lengths are what counts."""
    tokens = np.random.default_rng(length).integers(43, 157, (1, length))
    values: dict[str, Any] = {"style": np.full((1, 256), 0.05, np.float32)}
    for node in session.get_inputs():
        if "token" in node.name or node.name == "input_ids":
            values[node.name] = tokens.astype(np.int64)
        elif node.name == "speed":
            values[node.name] = np.ones(1, np.int32 if "int32" in node.type else np.float32)
    return values


def _modes(bench: Bench, model: Path) -> None:
    for mode in bench.choose(("HEURISTIC", "DEFAULT"), ("HEURISTIC",)):
        session = _open(bench, model, {"cudnn_conv_algo_search": mode})
        name = f"Kokoro, convolutions chosen by {mode}" if bench.cuda else "Kokoro"
        if bench.cuda:
            is_on_card = session.get_providers()[0] == _CUDA
            bench.report.add(f"{name}: its session is on the card", float(is_on_card), "yes", at_least=1)
        _alternate(bench, name, session)


def _alternate(bench: Bench, name: str, session: InferenceSession) -> None:
    lengths = bench.choose((60, 180), (12, 24))
    both = [_inputs(session, length) for length in lengths]
    grouped = 0.0
    for inputs in both:
        grouped += bench.seconds(partial(session.run, None, inputs))
    alternating = bench.seconds(lambda: [session.run(None, inputs) for inputs in both])
    audio = sum(np.asarray(session.run(None, inputs)[0]).size for inputs in both) / _RATE
    note = f"{1000 * grouped / 2:.3g} ms a call, {audio / grouped:.0f} x real"
    at_most = 1.5 if bench.cuda else None
    bench.report.add(
        f"{name}: lengths alternating", alternating / grouped, against=_GROUPED, at_most=at_most, note=note
    )


def _sessions(bench: Bench, model: Path) -> None:
    """Two threads that speak texts of two lengths: on one session, whose plans both need, and on one each."""
    sessions = [_open(bench, model), _open(bench, model)]
    both = [_inputs(sessions[0], length) for length in bench.choose((60, 180), (12, 24))]
    with ThreadPoolExecutor(2) as threads:

        def speak(used: list[InferenceSession]) -> None:
            list(threads.map(lambda session, inputs: session.run(None, inputs), used, both))

        for session in sessions:
            for inputs in both:
                session.run(None, inputs)
        shared = bench.seconds(lambda: speak([sessions[0], sessions[0]]))
        own = bench.seconds(lambda: speak(sessions))
    at_most = 1.0 if bench.cuda else None
    bench.report.add("Kokoro: two threads, a session each", own / shared, against="one session", at_most=at_most)
