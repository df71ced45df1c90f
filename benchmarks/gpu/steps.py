"""Section A: what a window costs to encode, a step to decode, a text to align, and a start without compiled code."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.made_up import END, FIRST_WORD, write_model
from benchmarks.gpu.shapes import FRAMES, TOKENS, Shape

_START_LIMIT = 240.0  # seconds: a card of another generation than the wheel's compiles at its first start
_CACHE_BYTES = str(1 << 30)


def run(bench: Bench) -> None:
    if not bench.cuda and not bench.tiny:
        bench.report.skip("section A", "CTranslate2 finds no CUDA card here: --tiny runs it on a CPU")
        return
    for shape in bench.shapes:
        with bench.figure(shape.name):
            model = open_model(bench, shape)
            encode(bench, shape, model)
            decode(bench, shape, model)
            align(bench, shape, model)
            model.unload_model()
    start(bench)


def open_model(bench: Bench, shape: Shape) -> Any:
    compute_type = "float16" if bench.cuda else "int8"
    return ctranslate2.models.Whisper(str(write_model(shape, bench.folder)), bench.device, compute_type=compute_type)


def features(shape: Shape, seconds: float, batch: int) -> Any:
    """Noise, for any sound costs the same."""
    chance = np.random.default_rng(0)
    one = chance.standard_normal((1, shape.mels, round(2 * FRAMES * seconds)), np.float32)
    return ctranslate2.StorageView.from_array(np.repeat(one, batch, 0))


def encoded(model: Any, shape: Shape, batch: int) -> Any:
    """So many windows of 30 s, on the host, as the engine keeps them."""
    view = model.encode(features(shape, 30, 1), to_cpu=model.device == "cuda")
    return ctranslate2.StorageView.from_array(np.repeat(np.asarray(view), batch, 0))


def prompt(timed: bool) -> list[int]:
    """start, English, transcribe, and no timestamps: their places after the end of text."""
    return [END + 1, END + 2 + 18, END + 103] + ([] if timed else [END + 107])


def generate(model: Any, views: Any, batch: int, beam: int, *, timed: bool = False) -> list[Any]:
    """Raises ValueError where the model does not say all its words: the time would mean nothing."""
    results: list[Any] = model.generate(views, [prompt(timed)] * batch, beam_size=beam, max_length=448)
    words = {sum(FIRST_WORD <= token < FIRST_WORD + TOKENS for token in one.sequences_ids[0]) for one in results}
    if words != {TOKENS}:
        raise ValueError(f"the made-up model said {sorted(words)} words in a window, not {TOKENS}")
    return results


def encode(bench: Bench, shape: Shape, model: Any) -> None:
    for seconds in (15, 20, 30):
        for batch in bench.choose((1, 2, 4, 8, 16, 32), (1, 2)):
            _encode(bench, shape, model, seconds, batch, to_host=False)
    if bench.cuda:
        _encode(bench, shape, model, 30, 1, to_host=True)


def _encode(bench: Bench, shape: Shape, model: Any, seconds: int, batch: int, *, to_host: bool) -> None:
    place = "brought to the host" if to_host else f"left on {bench.device}"
    name = f"{shape.name}: encode a {seconds} s window, {batch} together, {place}"
    with bench.figure(name):
        windows = features(shape, seconds, batch)
        expected = bench.expected(lambda card: card.encoding(shape, seconds))
        bench.milliseconds(name, lambda: model.encode(windows, to_cpu=to_host), expected, each=batch)


def decode(bench: Bench, shape: Shape, model: Any) -> None:
    for beam in (1, 5):
        for timed in (False, True):
            for batch in bench.choose((1, 4, 8, 16, 32), (1, 4)):
                kind = "with timestamps" if timed else "text"
                name = f"{shape.name}: a decoding step, {batch} together, beam {beam}, {kind}"
                with bench.figure(name):
                    _decode(bench, name, shape, model, batch, beam, timed)


def _decode(bench: Bench, name: str, shape: Shape, model: Any, batch: int, beam: int, timed: bool) -> None:
    views = encoded(model, shape, batch)
    expected = bench.expected(lambda card: card.step(shape, batch, beam, timed=timed))
    steps = TOKENS + 1
    bench.milliseconds(name, lambda: generate(model, views, batch, beam, timed=timed), expected, each=steps)


def align(bench: Bench, shape: Shape, model: Any) -> None:
    """Times by attention, for many windows in one call: against one call each."""
    batch = bench.choose(16, 2)
    name = f"{shape.name}: align {batch} windows in one call"
    with bench.figure(name):
        many, one = encoded(model, shape, batch), encoded(model, shape, 1)
        text = list(range(FIRST_WORD, FIRST_WORD + TOKENS))
        start_of_text = prompt(timed=True)

        def call(views: Any, count: int) -> None:
            model.align(views, start_of_text, [text] * count, [30 * 2 * FRAMES] * count)

        together = bench.seconds(lambda: call(many, batch))
        alone = bench.seconds(lambda: call(one, 1)) * batch
        note = f"{1000 * together / batch:.3g} ms a window"
        at_most = 1.0 if bench.cuda else None
        bench.report.add(name, together / alone, against="a call for each", note=note, at_most=at_most)


def start(bench: Bench) -> None:
    """How long a fresh process takes to its first encoding and word, where CUDA has compiled nothing yet, and again."""
    if not bench.cuda:
        bench.report.skip("start with an empty CUDA_CACHE_PATH", "only a GPU's driver compiles at the start")
        return
    name = "start with an empty CUDA_CACHE_PATH"
    with bench.figure(name), tempfile.TemporaryDirectory() as cache:
        folder = write_model(bench.shapes[0], bench.folder)
        first, again = _start(folder, cache), _start(folder, cache)
        bench.report.add(name, first, "s", against="a native binary: as long as the second time")
        bench.report.add("start with what that one compiled", again / first, against="the first", at_most=1.1)


def _start(folder: Path, cache: str) -> float:
    environment = {**os.environ, "CUDA_CACHE_PATH": cache, "CUDA_CACHE_MAXSIZE": _CACHE_BYTES}
    command = [sys.executable, "-m", "benchmarks.gpu.start", str(folder)]
    begun = time.perf_counter()
    subprocess.run(command, env=environment, check=True, timeout=_START_LIMIT, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun
