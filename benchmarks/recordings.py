"""Hours of speech whose words are known: sentences of the reading and of Piper's voice in a random order, with pauses.

No two times that a sentence is said are the same samples: each is as loud as chance has it, on a noise of its own.
"""

from __future__ import annotations

import os
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr

from benchmarks.clips import CACHE, sentences
from benchmarks.dialogues import SENTENCES
from benchmarks.rows.tts import PIPER, model_folder
from speech_server.domain import RATE, Samples

_SEED = 14
_PAUSE = 0.1, 1.6  # seconds after a spoken sentence; a read one has its own
_QUIET = 10 ** (-40 / 20)
_NOISE = 10 ** (-75 / 20)


@dataclass(frozen=True)
class Recording:
    path: Path
    text: str
    seconds: float


def recording(hours: float) -> Recording:
    """A wav of 16 kHz, made once."""
    path, text = CACHE / f"hours-{hours:g}.wav", CACHE / f"hours-{hours:g}.txt"
    if not (path.exists() and text.exists()):
        _write(path, text, round(hours * 3600 * RATE))
    return Recording(path, text.read_text(), (path.stat().st_size - 44) / 2 / RATE)


def _write(path: Path, text: Path, count: int) -> None:
    said, written = [], 0
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}")
    with wave.open(str(part), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        for words, samples in _sentences():
            if written + len(samples) > count:
                break
            written += len(samples)
            said.append(words)
            file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    text.write_text(" ".join(said))
    part.replace(path)


def _sentences() -> Iterator[tuple[str, Samples]]:
    """For ever."""
    random = np.random.default_rng(_SEED)
    known = [*((text, sound, True) for text, sound in _read()), *((text, sound, False) for text, sound in _spoken())]
    while True:
        for number in random.permutation(len(known)):
            text, sound, is_read = known[number]
            pause = 0 if is_read else round(random.uniform(*_PAUSE) * RATE)
            samples = np.pad(sound * 10 ** (random.uniform(-8, 0) / 20), (0, pause))
            yield text, (samples + random.normal(0, _NOISE, len(samples))).astype(np.float32)


def _read() -> Iterator[tuple[str, Samples]]:
    for text, rate, data in sentences():
        yield text, soxr.resample(np.frombuffer(data, "<i2").astype(np.float32) / 32768, rate, RATE)


def _spoken() -> Iterator[tuple[str, Samples]]:
    from piper import PiperVoice

    folder = model_folder(PIPER)
    voice = PiperVoice.load(folder / "model.onnx", folder / "config.json")
    for text in SENTENCES:
        chunks = list(voice.synthesize(text))
        sound = np.concatenate([chunk.audio_float_array for chunk in chunks])
        loud = np.flatnonzero(np.abs(sound) > _QUIET * np.abs(sound).max())
        sound = sound[loud[0] : loud[-1] + 1] * (0.8 / np.abs(sound).max())
        yield text, soxr.resample(sound, chunks[0].sample_rate, RATE).astype(np.float32)
