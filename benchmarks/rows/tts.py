"""Speech synthesis against kokoro-onnx and piper-tts called the usual way: first sound, throughput, load, words."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing, closing, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
import soxr

from benchmarks.installed import installed
from benchmarks.report import Report
from benchmarks.words import PASSAGES, error_rate, plain
from speech_server.domain import Samples
from speech_server.engines.interfaces import EngineArgs, Speaker, SpeakOptions
from speech_server.engines.kokoro import engine as kokoro
from speech_server.engines.piper import engine as piper
from speech_server.text_to_speech import Bounds, speak

if TYPE_CHECKING:
    from faster_whisper import WhisperModel
    from kokoro_onnx import Kokoro

    from speech_server.audio.encode import AudioFormat

REPEATS = 3
KOKORO, PIPER = "speaches-ai/Kokoro-82M-v1.0-ONNX", "speaches-ai/piper-en_US-joe-medium"
WHISPER = "Systran/faster-whisper-base"
LIBRARY = "kokoro-onnx, default session, one after another"
CORES = len(os.sched_getaffinity(0))
TEXT = (
    "The harbour was quiet that morning, and the fog had not yet lifted from the water. A fisherman, his collar turned "
    "up against the cold, walked slowly along the stone pier to the last of the boats, though not slowly enough to "
    "keep the gulls from rising in front of him. The air smelt of tar and of wet rope. At one end of the pier an old "
    "lamp, too weak for the weather, was still burning on its iron post. It lit nothing but a narrow circle of planks, "
    "a coil of line, and a grey cat that watched the man with great attention, as if it had been waiting there for him "
    "since the evening."
)
REQUESTS = (
    "The train to the coast leaves at noon. Please take your seats, the doors are closing now.",
    "Rain fell on the roof all night long. In the morning the garden was full of small birds.",
    "My sister plays the piano every evening. The neighbours open their windows to listen.",
    "Bread, butter and a little cheese were on the table. Nobody had touched the apples.",
)


@dataclass(frozen=True)
class Spoken:
    first: float  # seconds until the first bytes
    seconds: float  # and until the last
    audio: float  # seconds of sound


def run(report: Report) -> None:
    with _open(kokoro.load, KOKORO) as ours:
        _throughput(report, ours)
        _first_sound(report, ours, "Kokoro", "af_heart", at_most=0.10)
        _concurrency(report, ours)
        _words(report, ours)
    with _open(piper.load, PIPER) as joe:
        _first_sound(report, joe, "Piper", "joe")
    _load(report)
    _levers(report)


def _throughput(report: Report, ours: Speaker) -> None:
    library = kokoro_library()
    both = {
        "library_four": lambda: [library.create(text, "af_heart") for text in REQUESTS],
        "ours_four": lambda: _speak_all(ours, REQUESTS, streaming=False),
        "ours_four_streamed": lambda: _speak_all(ours, REQUESTS),
        "library_one": lambda: library.create(TEXT, "af_heart"),
        "ours_one": lambda: _speak_all(ours, (TEXT,)),
    }
    times = {name: median(seconds) for name, seconds in report.interleave(REPEATS, **both).items()}
    audio = sum(spoken.audio for spoken in _speak_all(ours, REQUESTS))
    report.add(
        "Kokoro, throughput, 4 requests at once",
        times["library_four"] / times["ours_four"],
        against=LIBRARY,
        at_least=1.25,
        note=f"whole files; {audio / times['ours_four']:.1f} x real time",
    )
    report.add(
        "Kokoro, the same, streamed with an early first piece",
        times["library_four"] / times["ours_four_streamed"],
        against=LIBRARY,
    )
    report.add("Kokoro, 600 characters alone, whole time", times["ours_one"] / times["library_one"], against=LIBRARY)


def _first_sound(report: Report, ours: Speaker, name: str, voice: str, *, at_most: float | None = None) -> None:
    _speak_all(ours, (TEXT,), voice)
    runs = [_speak_all(ours, (TEXT,), voice)[0] for _ in range(REPEATS)]
    share = median(spoken.first / spoken.seconds for spoken in runs)
    note = f"{1000 * median(spoken.first for spoken in runs):.0f} ms"
    report.add(f"{name}, first mp3 bytes of 600 characters", share, against="all of it", at_most=at_most, note=note)


def _concurrency(report: Report, ours: Speaker) -> None:
    for at_once in (1, 2, 4, 8):
        started = time.perf_counter()
        spoken = _speak_all(ours, REQUESTS * 2, at_once=at_once)
        seconds = time.perf_counter() - started
        report.series.setdefault("times real time", []).append((at_once, sum(one.audio for one in spoken) / seconds))
        report.series.setdefault("first sound, seconds, p50", []).append((at_once, median(one.first for one in spoken)))


def _words(report: Report, ours: Speaker) -> None:
    """What Whisper base hears of our pieces, and of the library's one."""
    library = kokoro_library()
    texts = [*REQUESTS, TEXT, *PASSAGES]
    mine = [_hear(np.concatenate(asyncio.run(_pieces(ours, text))), ours.sample_rate) for text in texts]
    theirs = [_hear(*library.create(text, "af_heart")) for text in texts]
    wrong, wrong_there = 100 * error_rate(texts, mine), 100 * error_rate(texts, theirs)
    words = sum(len(plain(text).split()) for text in texts)
    note = f"{wrong:.2f} % and {wrong_there:.2f} % of {words}"
    report.add(
        "Kokoro, words Whisper hears wrong, difference",
        wrong - wrong_there,
        "points",
        against=LIBRARY,
        at_most=0.5,
        note=note,
    )


def _load(report: Report) -> None:
    from kokoro_onnx import Kokoro
    from piper import PiperVoice

    voice, model = model_folder(PIPER), model_folder(KOKORO)

    def load_ours(load: Callable[[Path, EngineArgs], Speaker], folder: Path) -> float:
        started = time.perf_counter()
        speaker = load(folder, EngineArgs(device="cpu"))
        seconds = time.perf_counter() - started
        speaker.close()
        return seconds

    def load_library(load: Callable[[], object]) -> float:
        started = time.perf_counter()
        load()
        return time.perf_counter() - started

    pairs: dict[str, tuple[Callable[[], object], Callable[[], float], float]] = {
        "Piper": (lambda: PiperVoice.load(voice / "model.onnx", voice / "config.json"),
                  lambda: load_ours(piper.load, voice), 0.3),
        "Kokoro": (lambda: Kokoro(str(model / "model.onnx"), str(model / "voices.bin")),
                   lambda: load_ours(kokoro.load, model), 0.7),
    }  # fmt: skip
    for name, (theirs, mine, aim) in pairs.items():
        turns = [(load_library(theirs), mine()) for _ in range(REPEATS)]
        ratio = median(ours for _, ours in turns) / median(library for library, _ in turns)
        report.add(f"{name}, load", ratio, against="the library with its default session", at_most=aim)


def _levers(report: Report) -> None:
    """Each taken away alone: how much worse it gets."""
    with _open(kokoro.load, KOKORO) as ours, _open(kokoro.load, KOKORO, workers=1) as single:
        first = report.interleave(
            REPEATS,
            short=lambda: asyncio.run(_first_piece(ours, SpeakOptions("af_heart"))),
            sentence=lambda: asyncio.run(_first_piece(ours, SpeakOptions("af_heart", early=False))),
        )
        report.add(
            "lever: first sound when the first piece is a whole sentence",
            median(first["sentence"]) / median(first["short"]),
            against="a few words",
        )
        four = report.interleave(
            3, side_by_side=lambda: _speak_all(ours, REQUESTS), in_turn=lambda: _speak_all(single, REQUESTS)
        )
        report.add(
            "lever: 4 requests when pieces go one after another",
            median(four["in_turn"]) / median(four["side_by_side"]),
            against=f"{CORES} side by side",
        )


def _speak_all(
    speaker: Speaker,
    texts: tuple[str, ...],
    voice: str = "af_heart",
    *,
    at_once: int | None = None,
    streaming: bool = True,
) -> list[Spoken]:
    async def every() -> list[Spoken]:
        slots = asyncio.Semaphore(at_once or len(texts))

        async def one(text: str) -> Spoken:
            async with slots:
                return await _speak(speaker, text, voice, streaming)

        return list(await asyncio.gather(*map(one, texts)))

    return asyncio.run(every())


async def _speak(speaker: Speaker, text: str, voice: str, streaming: bool = True) -> Spoken:
    started = time.perf_counter()
    first = 0.0
    size = 0
    # A whole file needs no early first piece, and is a wav here because the library gives plain samples.
    options = SpeakOptions(voice, early=streaming)
    kind: AudioFormat = "mp3" if streaming else "wav"
    async with aclosing(speak(speaker, text, options, kind, bounds=Bounds(3600.0, 0), streaming=streaming)) as chunks:
        async for chunk in chunks:
            first = first or time.perf_counter() - started
            size += len(chunk)
    return Spoken(first, time.perf_counter() - started, size * 8 / 64_000)


async def _pieces(speaker: Speaker, text: str) -> list[Samples]:
    async with aclosing(speaker.speak(text, SpeakOptions("af_heart"))) as pieces:
        return [piece async for piece in pieces]


async def _first_piece(speaker: Speaker, options: SpeakOptions) -> None:
    async with aclosing(speaker.speak(TEXT, options)) as pieces:
        await anext(pieces)


def _hear(samples: Samples, rate: int) -> str:
    segments, _ = _whisper().transcribe(soxr.resample(samples, rate, 16_000).astype(np.float32), language="en")
    return "".join(segment.text for segment in segments)


@cache
def _whisper() -> WhisperModel:
    from faster_whisper import WhisperModel

    return WhisperModel(str(model_folder(WHISPER)), compute_type="int8")


@cache
def kokoro_library() -> Kokoro:
    from kokoro_onnx import Kokoro

    folder = model_folder(KOKORO)
    return Kokoro(str(folder / "model.onnx"), str(folder / "voices.bin"))


@cache
def model_folder(model_id: str) -> Path:
    folder = installed(model_id)
    if folder is None:
        raise SystemExit(f"{model_id} is not installed: run `make models`")
    return folder


@contextmanager
def _open(load: Callable[[Path, EngineArgs], Speaker], model_id: str, *, workers: int = 0) -> Iterator[Speaker]:
    with closing(load(model_folder(model_id), EngineArgs(device="cpu", workers=workers))) as speaker:
        yield speaker
