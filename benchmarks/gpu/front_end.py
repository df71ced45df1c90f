"""Section D: what a recording costs before the engine: decoding, voice detection, features. In seconds of the CPU.

Whole requests, as the server hears them, with an engine that answers at once; then each part for itself.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from benchmarks.gpu.bench import Bench
from benchmarks.installed import installed
from speech_server.domain import RATE, ChunkTranscript, Samples, Segment, SpeechChunk, VadOptions
from speech_server.engines.cores import core_count
from speech_server.engines.interfaces import EngineArgs, SpeakOptions, TranscribeOptions
from speech_server.engines.mel import log_mel

if TYPE_CHECKING:
    from speech_server.engines.silero.engine import Detector

PIPER = "speaches-ai/piper-en_US-joe-medium"
TEXT = (
    "The harbour was quiet that morning, and the fog had not yet lifted from the water. A fisherman walked slowly "
    "along the stone pier to the last of the boats. The air smelt of tar and of wet rope. At one end of the pier an "
    "old lamp was still burning on its iron post. It lit nothing but a narrow circle of planks and a grey cat."
)
FORMATS: tuple[Literal["opus", "mp3", "wav"], ...] = ("opus", "mp3", "wav")
# Of a 30 s window on the machine that the aim was set by: Opus 49 ms, voice detection 35, features 8.
_WINDOW, _THEN = 30.0, {"opus": 0.092}
_FASTER = 2.5
_FED = 2_000 / 16  # times real time a core, where 16 are to feed a card


class AtOnce:
    """A transcriber that makes Whisper's features of what it is given, on as many threads as cores, and is done."""

    languages = frozenset({"en"})
    BANDS = 128

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(core_count())

    async def transcribe(
        self, chunks: AsyncIterator[SpeechChunk], options: TranscribeOptions
    ) -> AsyncGenerator[ChunkTranscript, None]:
        async for chunk in chunks:
            async with self._free:
                await asyncio.to_thread(features, chunk.samples)
            segment = Segment(chunk.offset, chunk.offset + len(chunk.samples) / RATE, " word")
            yield ChunkTranscript((segment,), "en", 1.0)


def features(samples: Samples) -> Any:
    """As the engine makes them."""
    return log_mel(samples, AtOnce.BANDS, round(_WINDOW * RATE))


def run(bench: Bench) -> None:
    folder = installed(PIPER)
    if folder is None:
        bench.report.skip("section D", f"{PIPER} is not installed, whose voice it hears: `make models` brings it")
        return
    import faster_whisper

    from speech_server.engines.silero import engine as silero

    detector = silero.load(Path(faster_whisper.__file__).parent / "assets", EngineArgs())
    sound, rate = _repeated(asyncio.run(_spoken(folder)), bench.choose(300.0, 30.0))
    made = dict(files(bench.folder, sound, rate))
    for name, path in made.items():
        for at_once in (1, bench.choose(2 * core_count(), 2)):
            with bench.figure(f"front end, {name}, {at_once} at once"):
                _whole(bench, detector, name, path, at_once, len(sound) / rate)
    for name, path in made.items():
        with bench.figure(f"decoding, {name}"):
            _part(bench, f"decoding {name}", len(sound) / rate, partial(_decoded, path))
    _parts(bench, detector, _decoded(made["wav"]))


async def _spoken(folder: Path) -> tuple[Samples, int]:
    from speech_server.engines.piper import engine as piper

    speaker = piper.load(folder, EngineArgs(device="cpu"))
    try:
        voice = next(iter(speaker.voices))
        parts = [part async for part in speaker.speak(TEXT, SpeakOptions(voice, early=False))]
        return np.concatenate(parts), speaker.sample_rate
    finally:
        await asyncio.to_thread(speaker.close)


def _repeated(spoken: tuple[Samples, int], seconds: float) -> tuple[Samples, int]:
    """The text again and again, with half a second between."""
    samples, rate = spoken
    once = np.concatenate((samples, np.zeros(rate // 2, np.float32)))
    return np.resize(once, round(seconds * rate)), rate


def files(folder: Path, sound: Samples, rate: int) -> Iterator[tuple[str, Path]]:
    from speech_server.audio.encode import Encoder

    for name in FORMATS:
        encoder = Encoder(name, rate, streaming=False)
        path = folder / f"spoken.{name}"
        path.write_bytes(encoder.encode(sound) + encoder.finish())
        yield name, path


def _whole(bench: Bench, detector: Detector, name: str, path: Path, at_once: int, seconds: float) -> None:
    """Audio seconds for one of the CPU. What looks at files before is a process of its own, and left out."""
    asyncio.run(hear(detector, path, 1))
    used, begun = time.process_time(), time.perf_counter()
    asyncio.run(hear(detector, path, at_once))
    used, wall = time.process_time() - used, time.perf_counter() - begun
    audio, then = at_once * seconds, _THEN.get(name)
    held = then is not None and not bench.tiny
    bench.report.add(
        f"front end alone, {name}, {at_once} at once",
        audio / used,
        "s / CPU s",
        against=f"{_WINDOW / then:.0f} on an AMD EPYC before" if then else "",
        at_least=_FASTER * _WINDOW / then if held and then else None,
    )
    if at_once > 1:
        name = f"front end alone, {name}, {at_once} at once on {core_count()} cores"
        aim = None if bench.tiny else _FED * core_count()
        bench.report.add(name, audio / wall, "x real", at_least=aim, against="2,000 by 16 cores: what an H200 hears")


async def hear(detector: Detector, path: Path, at_once: int) -> None:
    from speech_server.speech_to_text import transcribe

    transcriber = AtOnce()

    async def request() -> int:
        heard = transcribe(
            path, transcriber, detector, TranscribeOptions(language="en"), VadOptions(), max_seconds=36_000
        )
        async with aclosing(heard):
            return sum([len(segment.text) async for segment in heard])

    if not all(await asyncio.gather(*(request() for _ in range(at_once)))):
        raise RuntimeError(f"no speech was found in {path}")


def _decoded(path: Path) -> Samples:
    from speech_server.audio import decode
    from speech_server.audio.budget import Limits

    return np.concatenate(list(decode.stream(path, Limits(36_000), threading.Event())))


def _parts(bench: Bench, detector: Detector, samples: Samples) -> None:
    seconds = len(samples) / RATE
    window = samples[: round(_WINDOW * RATE)]
    _part(bench, "voice detection", seconds, lambda: detector.stream().feed(samples))
    _part(bench, "features", len(window) / RATE, lambda: features(window))


def _part(bench: Bench, name: str, seconds: float, run: Callable[[], object]) -> None:
    """Milliseconds of the CPU for 30 s of sound."""
    run()
    count = bench.choose(5, 2)
    begun = time.process_time()
    for _ in range(count):
        run()
    used = (time.process_time() - begun) / count
    bench.report.add(f"{name}, 30 s of sound", 1000 * used * _WINDOW / seconds, "CPU ms")
