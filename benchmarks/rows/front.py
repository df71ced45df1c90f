"""What a recording costs before the engine, in time of the CPU: decoding, voice detection and features, and an engine
that answers at once, against the same steps of faster-whisper in the same process, which has the server's settings."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from benchmarks.report import Report

REPEATS = 5
LIBRARY = "faster-whisper's decode_audio, VAD and features"
# FFmpeg's decoder, which both have, is more than half of it for opus.
_AT_LEAST = {"opus": 1.3, "mp3": 1.5, "wav": 2.0}


def run(report: Report) -> None:
    """In a process of its own: its settings must come before NumPy."""
    told = subprocess.run([sys.executable, "-m", "benchmarks.rows.front"], stdout=subprocess.PIPE, check=True)
    for line in told.stdout.splitlines():
        name, seconds, ours, theirs = json.loads(line)
        note = f"{seconds / ours:.0f} and {seconds / theirs:.0f} seconds of sound for one of the CPU"
        report.add(f"front end alone, {name}", theirs / ours, against=LIBRARY, at_least=_AT_LEAST[name], note=note)


def measured() -> Iterator[tuple[str, float, float, float]]:
    """Format, seconds of sound, and seconds of the CPU that we and the library need."""
    import faster_whisper
    import numpy as np

    from benchmarks.clips import minutes
    from benchmarks.gpu.front_end import files, hear
    from speech_server.engines.interfaces import EngineArgs
    from speech_server.engines.silero import engine as silero

    detector = silero.load(Path(faster_whisper.__file__).parent / "assets", EngineArgs())
    with wave.open(str(minutes(2).path)) as reading:
        rate = reading.getframerate()
        sound = np.frombuffer(reading.readframes(reading.getnframes()), "<i2") * np.float32(1 / 32768)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        for name, path in files(Path(folder), sound, rate):
            ours, theirs = [], []
            for _ in range(REPEATS + 1):  # the first one imports
                begun = time.process_time()
                asyncio.run(hear(detector, path, 1))
                between = time.process_time()
                _library(path)
                ours.append(between - begun)
                theirs.append(time.process_time() - between)
            yield name, len(sound) / rate, median(ours[1:]), median(theirs[1:])
    detector.close()


def _library(path: Path) -> None:
    import numpy as np
    from faster_whisper.audio import decode_audio
    from faster_whisper.feature_extractor import FeatureExtractor
    from faster_whisper.vad import collect_chunks, get_speech_timestamps

    from benchmarks.gpu.front_end import AtOnce
    from speech_server.domain import RATE

    samples = decode_audio(str(path))
    chunks, _ = collect_chunks(samples, get_speech_timestamps(samples), max_duration=30.0)
    extractor = FeatureExtractor(feature_size=AtOnce.BANDS)
    for chunk in chunks:
        extractor(np.pad(chunk, (0, max(0, 30 * RATE - len(chunk)))), padding=0)


if __name__ == "__main__":
    from speech_server.engines.allocator import keep_memory, use_one_blas_thread

    use_one_blas_thread()
    keep_memory()
    for row in measured():
        print(json.dumps(row), flush=True)
