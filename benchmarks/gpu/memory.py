"""Section B: what models and batches take against the formula, what is left after too much, many requests at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.made_up import write_model
from benchmarks.gpu.shapes import TOKENS, Shape
from benchmarks.gpu.steps import encoded, generate, open_model

if TYPE_CHECKING:
    from speech_server.engines.whisper.engine import WhisperTranscriber

_MOST = 1024  # windows in a batch that is meant to be too large
_WINDOW = 30  # seconds
_NO_DRIVER = "only a card's driver tells what is taken of its memory"


def run(bench: Bench) -> None:
    if not bench.cuda and not bench.tiny:
        bench.report.skip("section B", "CTranslate2 finds no CUDA card here: --tiny runs it on a CPU")
        return
    for shape in bench.shapes:
        with bench.figure(f"{shape.name}: memory"):
            _memory(bench, shape)
    for shape in bench.shapes[:1]:
        with bench.figure(f"{shape.name}: whole transcriber"):
            _transcriber(bench, shape)


def _memory(bench: Bench, shape: Shape) -> None:
    driver = bench.driver
    before = driver.used() if driver else 0
    model = open_model(bench, shape)
    generate(model, encoded(model, shape, 1), 1, 1)
    if driver and bench.cuda:
        name = f"{shape.name}: loaded, libraries and all"
        taken, note = driver.used() - before, f"weights {shape.weights / 1e9:.2f} GB by formula"
        bench.report.add(name, taken / 1e9, "GB", note=note, at_most=(shape.weights + 1e9) / 1e9, against="1 GB more")
    base = driver.used() if driver else 0
    for batch in bench.choose((8, 32), (2,)):  # ascending: what one took, the library may keep for the next
        for beam in (1, 5):
            _batch(bench, shape, model, batch, beam, base)
    if bench.cuda and driver:
        _too_much(bench, shape, model, driver.total())
    else:
        bench.report.skip(f"{shape.name}: too large a batch", "a CPU's memory is everybody's: a card is needed")
    model.unload_model()


def _batch(bench: Bench, shape: Shape, model: Any, batch: int, beam: int, base: int) -> None:
    name = f"{shape.name}: memory of {batch} windows in a batch, beam {beam}"
    with bench.figure(name):
        views, formula = encoded(model, shape, batch), batch * shape.planned(beam)
        if not bench.driver or not bench.cuda:
            generate(model, views, batch, beam)
            bench.report.skip(name, f"{_NO_DRIVER}; {formula / 1e6:.3g} MB by formula; the batch was decoded")
            return
        with bench.driver.peak() as most:
            generate(model, views, batch, beam)
        note = f"{(most[0] - base) / 1e9:.3g} GB"
        against = "what the server plans with for texts of this length"
        bench.report.add(name, (most[0] - base) / formula, note=note, against=against, at_most=1.25)


def _too_much(bench: Bench, shape: Shape, model: Any, total: int) -> None:
    """Batches of twice the size until the card refuses one; the small one must work again after that."""
    fits, batch = 0, 32
    fit_by_formula = (total - shape.weights) / shape.cached(5)
    try:
        while batch <= min(_MOST, 4 * fit_by_formula):
            generate(model, encoded(model, shape, batch), batch, 5)
            fits, batch = batch, 2 * batch
    except RuntimeError as error:
        name = f"{shape.name}: decodes again after a batch of {batch} was too large"
        with bench.figure(name):
            generate(model, encoded(model, shape, 1), 1, 5)
            against = f"{fits} fitted, {fit_by_formula:.0f} by formula"
            bench.report.add(name, 1, "yes", at_least=1, against=against, note=str(error)[:100])
        return
    bench.report.skip(f"{shape.name}: too large a batch", f"{fits} windows at beam 5 still fitted")


def _transcriber(bench: Bench, shape: Shape) -> None:
    """The engine as the server runs it, on windows that are full; no front end."""
    from speech_server.engines.interfaces import EngineArgs
    from speech_server.engines.whisper import engine

    transcriber = engine.load(write_model(shape, bench.folder), EngineArgs(device="cuda" if bench.cuda else "cpu"))
    try:
        _many(bench, shape, transcriber)
    finally:
        transcriber.close()


def _many(bench: Bench, shape: Shape, transcriber: WhisperTranscriber) -> None:
    for timed in (False, True):
        speeds = {}
        kind = "with timestamps" if timed else "text"
        asyncio.run(_transcribe(transcriber, 2, 1, timed))
        for requests in bench.choose((1, 4, 32, 64), (1, 32)):
            name = f"{shape.name}: whole transcriber, {requests} requests at once, {kind}"
            with bench.figure(name):
                each = bench.choose(4, 1)
                begun = time.perf_counter()
                asyncio.run(_transcribe(transcriber, requests, each, timed))
                speeds[requests] = requests * each * _WINDOW / (time.perf_counter() - begun)
                _speed(bench, shape, name, requests, speeds[requests])
        if 1 in speeds and 32 in speeds:
            figure = f"{shape.name}: throughput, 32 requests over 1, {kind}"
            bench.report.add(figure, speeds[32] / speeds[1], at_least=None if bench.tiny else 5)


def _speed(bench: Bench, shape: Shape, name: str, requests: int, speed: float) -> None:
    """Held to the encoder's time where requests fill the batches."""
    if not (bound := bench.expected(lambda card: _WINDOW / card.encoding(shape, _WINDOW))) or not bench.card:
        bench.report.add(name, speed, "x real")
        return
    against = f"{bound:.0f} where encoding were all, by arithmetic for {bench.card.name}"
    bench.report.add(name, speed, "x real", against=against, at_least=bound / 1.5 if requests >= 32 else None)


async def _transcribe(transcriber: WhisperTranscriber, requests: int, each: int, timed: bool) -> None:
    """Raises RuntimeError where a window's words are not those put into the model: it was decoded more than once."""
    from speech_server.domain import RATE, SpeechChunk
    from speech_server.engines.interfaces import TranscribeOptions

    noise = np.random.default_rng(0).standard_normal(_WINDOW * RATE).astype(np.float32) * np.float32(0.1)

    async def chunks() -> AsyncIterator[SpeechChunk]:
        for number in range(each):
            yield SpeechChunk(noise, float(number * _WINDOW))

    async def request() -> int:
        options = TranscribeOptions(language="en", without_timestamps=not timed)
        heard = [transcript async for transcript in transcriber.transcribe(chunks(), options)]
        return sum(len(segment.text.split()) for transcript in heard for segment in transcript.segments)

    words = set(await asyncio.gather(*(request() for _ in range(requests))))
    if words != {each * TOKENS}:
        raise RuntimeError(f"the made-up model said {sorted(words)} words in a request, not {each * TOKENS}")
