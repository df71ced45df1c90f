"""Samples to mp3, wav, flac, opus, aac or pcm, in this process, block by block."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from speech_server.audio.resample import Resampler

Samples = NDArray[np.float32]
AudioFormat = Literal["mp3", "wav", "flac", "opus", "aac", "pcm"]

LOWEST_RATE, HIGHEST_RATE = 8_000, 48_000
# What the codecs know; wav, flac and pcm take any rate.
_RATES: dict[str, tuple[int, ...]] = {
    "mp3": (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000),
    "aac": (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000),
    "opus": (48_000,),
}


class Codec(Protocol):
    """Turns mono samples in -1..1 at its rate into bytes. Blocking; any thread, one at a time."""

    def feed(self, samples: Samples) -> bytes: ...

    def finish(self) -> bytes: ...


class Encoder:
    """One file or stream. `encode` blocks in order, then `finish`; both give the bytes that are ready.

    `rate` is the file's (default: the source's; the nearest the codec knows). A wav has true sizes unless it is
    `streaming`; a flac comes whole in any case, since its header says how long it is and players rely on that.
    """

    def __init__(
        self, audio_format: AudioFormat, source_rate: int, rate: int | None = None, *, streaming: bool = True
    ) -> None:
        self.rate = file_rate(audio_format, source_rate, rate)
        self._resampler = Resampler(source_rate, self.rate)
        self._codec = _open(audio_format, self.rate, streaming)

    def encode(self, samples: Samples) -> bytes:
        return self._codec.feed(_clip(self._resampler.feed(samples)))

    def finish(self) -> bytes:
        return self._codec.feed(_clip(self._resampler.finish())) + self._codec.finish()


def file_rate(audio_format: AudioFormat, source_rate: int, wanted: int | None) -> int:
    """The rate of the file: the nearest to what is wanted that the codec knows."""
    if wanted is None and audio_format == "aac":
        # An aac file is a whole number of frames of 1024 samples: high rates make for fine steps of duration.
        return 48_000 if 48_000 % source_rate == 0 else 44_100
    rate = wanted or source_rate
    return min(_RATES.get(audio_format, (rate,)), key=lambda known: (abs(known - rate), -known))


def _open(audio_format: AudioFormat, rate: int, streaming: bool) -> Codec:
    if audio_format == "pcm":
        return _Pcm()
    if audio_format == "wav":
        return _StreamedWav(rate) if streaming else _Whole(lambda data: _wav_header(rate, len(data)) + data)
    # PyAV takes 80 ms to import and the two formats most asked for need it: only when it is needed.
    from speech_server.audio import codecs

    kinds: dict[str, Callable[[int], Codec]] = {
        "mp3": codecs.Mp3,
        "aac": codecs.Aac,
        "opus": codecs.Opus,
        "flac": codecs.Flac,
    }
    return kinds[audio_format](rate)


def _clip(samples: Samples) -> Samples:
    return np.clip(samples, -1.0, 1.0)


def pcm16(samples: Samples) -> bytes:
    """Little-endian signed 16 bit; samples beyond -1..1 are clipped."""
    data: bytes = np.rint(_clip(samples) * 32767.0).astype("<i2").tobytes()
    return data


class _Pcm:
    def feed(self, samples: Samples) -> bytes:
        return pcm16(samples)

    def finish(self) -> bytes:
        return b""


class _StreamedWav(_Pcm):
    def __init__(self, rate: int) -> None:
        self._header = _wav_header(rate, None)

    def feed(self, samples: Samples) -> bytes:
        header, self._header = self._header, b""
        return header + pcm16(samples)

    def finish(self) -> bytes:
        return self._header


class _Whole:
    """Keeps the samples as 16 bit until the end, where `wrap` makes them a file."""

    def __init__(self, wrap: Callable[[bytes], bytes]) -> None:
        self._wrap = wrap
        self._data = bytearray()

    def feed(self, samples: Samples) -> bytes:
        self._data += pcm16(samples)
        return b""

    def finish(self) -> bytes:
        return self._wrap(bytes(self._data))


def _wav_header(rate: int, size: int | None) -> bytes:
    """44 bytes for 16 bit mono; `size` None for a stream, whose length nobody knows yet."""
    riff, data = (0xFFFFFFFF, 0xFFFFFFFF) if size is None else (36 + size, size)
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", riff, b"WAVE", b"fmt ", 16, 1, 1, rate, rate * 2, 2, 16, b"data", data
    )
